"""The policy's process: batcher, answers kept for repeats, gRPC server; needs neither Ray nor a simulator."""
