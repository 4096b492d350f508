// One chunk from a policy server, in JavaScript, from the .proto file alone:
//   npm install @grpc/grpc-js @grpc/proto-loader
//   node examples/client.js 127.0.0.1:8000 [TOKEN]
const path = require("node:path");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const [address, token] = process.argv.slice(2);
const proto = path.join(__dirname, "..", "ray_eval", "wire", "open_inference.proto");
const { inference } = grpc.loadPackageDefinition(loader.loadSync(proto, { keepCase: true }));
const client = new inference.GRPCInferenceService(address, grpc.credentials.createInsecure());

// Numbers are little-endian; a text has its length in four bytes in front.
const state = Buffer.from(new Float32Array(8).buffer);
const task = Buffer.from("pick up the black bowl");
const length = Buffer.alloc(4);
length.writeUInt32LE(task.length);

const request = {
  inputs: [
    { name: "observation.state", datatype: "FP32", shape: [1, 8] },
    { name: "task", datatype: "BYTES", shape: [1, 1] },
  ],
  parameters: { noise_seed: { int64_param: 7 } },
  raw_input_contents: [state, Buffer.concat([length, task])],
};
const metadata = new grpc.Metadata();
if (token) metadata.set("authorization", `Bearer ${token}`);

client.ModelInfer(request, metadata, { deadline: Date.now() + 60_000 }, (error, answer) => {
  if (error) {
    console.error(error.message);
    process.exit(1);
  }
  const bytes = answer.raw_output_contents[0];
  const [, rows, columns] = answer.outputs[0].shape.map(Number);
  for (let row = 0; row < rows; row++) {
    const numbers = Array.from({ length: columns }, (_, column) => bytes.readFloatLE(4 * (row * columns + column)));
    console.log(numbers.join(" "));
  }
  client.close();
});
