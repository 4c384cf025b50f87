// Runs @tus/server with its file store: node tus_node.mjs NODE_MODULES PORT DIR
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [modules, port, directory] = process.argv.slice(2);
const locate = createRequire(path.join(modules, "..", "anchor.js")).resolve;
const load = (name) => import(pathToFileURL(locate(name)));

const { Server } = await load("@tus/server");
const { FileStore } = await load("@tus/file-store");

new Server({ path: "/files", datastore: new FileStore({ directory }) }).listen({
  host: "127.0.0.1",
  port: Number(port),
});
