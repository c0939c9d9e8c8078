// An actor host that is called: `node serverless.mjs PORT` serves /api/rivet/… as a serverless platform would.
import http from "node:http";
import { actor, setup } from "rivetkit";

const counter = actor({ state: { count: 0 }, actions: { add: (c, n) => (c.state.count += n) } });
const registry = setup({ use: { counter }, startServices: false });
const port = Number(process.argv[2]);

http
  .createServer(async (request, response) => {
    const url = new URL(request.url, `http://127.0.0.1:${port}`);
    const answer = await registry.handler(new Request(url, { method: request.method, headers: request.headers }));
    response.writeHead(answer.status, Object.fromEntries(answer.headers));
    response.end(Buffer.from(await answer.arrayBuffer()));
  })
  .listen(port, "127.0.0.1");
