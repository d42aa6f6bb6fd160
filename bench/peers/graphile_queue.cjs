// graphile-worker with jobs that post to a receiver, as the outbox does:
// node graphile_queue.cjs <directory with node_modules> <dsn> <url> <jobs> <at once>
// prints jobs a second from the first post to the completion of the last job; stdin is the body. Its documentation
// recommends the local queue and batched completion for throughput.
const { createRequire } = require("node:module");
const fs = require("node:fs");
const http = require("node:http");
const path = require("node:path");

const [directory, connectionString, url, jobs, atOnce] = process.argv.slice(2);
const { Logger, makeWorkerUtils, run } = createRequire(path.join(directory, "peer.cjs"))("graphile-worker");
const logger = new Logger(() => () => {});
const body = fs.readFileSync(0);
const agent = new http.Agent({ keepAlive: true, maxSockets: Number(atOnce) });

function post() {
  return new Promise((resolve, reject) => {
    const headers = { "Content-Type": "application/json", "Content-Length": body.length };
    const request = http.request(url, { method: "POST", agent, headers }, (response) => {
      response.resume();
      response.on("end", () => (response.statusCode === 200 ? resolve() : reject(new Error(response.statusCode))));
    });
    request.on("error", reject);
    request.end(body);
  });
}

async function main() {
  const utils = await makeWorkerUtils({ connectionString, logger });
  await utils.migrate();
  await utils.withPgClient((client) =>
    client.query("SELECT graphile_worker.add_job('post') FROM generate_series(1, $1::int)", [Number(jobs)]),
  );
  let began;
  let finished = 0;
  const runner = await run({
    connectionString,
    logger,
    noHandleSignals: true,
    preset: {
      worker: {
        concurrentJobs: Number(atOnce),
        localQueue: { size: 500 },
        completeJobBatchDelay: 0,
        failJobBatchDelay: 0,
      },
    },
    taskList: {
      post: async () => {
        began = began ?? process.hrtime.bigint();
        await post();
        finished += 1;
      },
    },
  });
  const left = "SELECT count(*)::int AS jobs FROM graphile_worker.jobs";
  while (finished < Number(jobs) || (await utils.withPgClient((client) => client.query(left))).rows[0].jobs > 0) {
    await new Promise((resolve) => setTimeout(resolve, finished < Number(jobs) ? 20 : 5));
  }
  const seconds = Number(process.hrtime.bigint() - began) / 1e9;
  await runner.stop();
  await utils.release();
  console.log(Number(jobs) / seconds);
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
