"""The Open Inference Protocol: messages, their codec, and the limits of a connection; all that both ends share."""
