// What the bare libraries for Node share: wait until told, send everything, say what it took.
'use strict';

const fs = require('fs');

/** The work, as the driver wrote it: texts, tokens, and where the sandbox is. */
exports.work = JSON.parse(fs.readFileSync(process.env.PEER_WORK));

/**
 * Sends to all tokens, `size` of them in a call and `calls` calls at a time.
 *
 * `send(tokens)` gives a list with the error of every failed one. Before the clock runs it is called for one
 * token, so that the connection is there, the access token fetched, and APNs allows more than one stream, and
 * then four times in full, so that Node has compiled what it needs.
 */
exports.measure = async (send, { size, calls }) => {
  const { tokens } = exports.work;
  const [refused] = await send(tokens.slice(0, 1));
  for (let call = 0; call < 4; call++) await send(tokens.slice(0, size));
  console.log(JSON.stringify({ event: 'ready', refused }));
  await new Promise((resolve) => process.stdin.once('data', resolve));

  const began = process.hrtime.bigint();
  const cpu = process.cpuUsage();
  const errors = {};
  let next = 0;
  const caller = async () => {
    while (next < tokens.length) {
      const chunk = tokens.slice(next, (next += size));
      for (const error of await send(chunk)) errors[error] = (errors[error] || 0) + 1;
    }
  };
  await Promise.all(Array.from({ length: calls }, caller));
  const spent = process.cpuUsage(cpu);
  console.log(JSON.stringify({
    event: 'done',
    seconds: Number(process.hrtime.bigint() - began) / 1e9,
    cpu_seconds: (spent.user + spent.system) / 1e6,
    peak_bytes: process.resourceUsage().maxRSS * 1024,
    errors,
  }));
  process.exit(0);
};
