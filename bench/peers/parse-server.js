// Parse Server with its push adapter: iPhones through node-apn, Android through firebase-admin.
//
//     node -r ./to-sandbox.js parse-server.js PORT BATCH_SIZE [seed]
//
// A batch size of 0 leaves Parse Server's own. With `seed` it first makes the work's devices its installations,
// and drops the database at the end. Ends when its standard input does.
'use strict';

const crypto = require('crypto');
const fs = require('fs');
const { pathToFileURL } = require('url');

const { MongoClient } = require('mongodb');
const { ParseServer } = require('parse-server');

const work = JSON.parse(fs.readFileSync(process.env.PEER_WORK));
const [port, batchSize] = process.argv.slice(2, 4).map(Number);
const seed = process.argv[4] === 'seed';

/** An installation, in the shape that Parse Server stores one. */
const installation = ({ platform, token }) => ({
  _id: crypto.randomBytes(8).toString('base64url').slice(0, 10),
  installationId: crypto.randomUUID(),
  deviceType: platform,
  deviceToken: token,
  appIdentifier: work.apns_topic,
  localeIdentifier: 'en-US',
  timeZone: 'Europe/Berlin',
  _created_at: new Date(),
  _updated_at: new Date(),
});

const fill = async (installations, url) => {
  const [first, ...others] = work.devices;
  // The first one goes through the API: without it, the class would not be known and the push would find nobody.
  const { _id, _created_at, _updated_at, ...body } = installation(first);
  const made = await fetch(`${url}/installations`, {
    method: 'POST',
    headers: {
      'X-Parse-Application-Id': 'bench',
      'X-Parse-Master-Key': work.master_key,
      'content-type': 'application/json',
    },
    body: JSON.stringify(body),
  });
  if (!made.ok) throw new Error(`the first installation was refused: ${await made.text()}`);
  for (let at = 0; at < others.length; at += 5000) {
    await installations.insertMany(others.slice(at, at + 5000).map(installation));
  }
};

const main = async () => {
  const url = `http://127.0.0.1:${port}/parse`;
  const { default: ParsePushAdapter } = await import(pathToFileURL(require.resolve('@parse/push-adapter')));
  const adapter = new ParsePushAdapter({
    android: { firebaseServiceAccount: work.service_account_file },
    ios: {
      token: { key: work.apns_key_file, keyId: work.apns_key_id, teamId: work.apns_team_id },
      topic: work.apns_topic,
      address: '127.0.0.1',
      port: Number(new URL(work.apns).port),
      ca: work.ca_file,
    },
  });
  await ParseServer.startApp({
    host: '127.0.0.1',
    port,
    mountPath: '/parse',
    serverURL: url,
    databaseURI: work.database,
    appId: 'bench',
    masterKey: work.master_key,
    silent: true,
    push: { adapter, ...(batchSize && { queueOptions: { batchSize } }) },
  });

  const database = await MongoClient.connect(work.database);
  if (seed) {
    await fill(database.db().collection('_Installation'), url);
    // As jraze's bench does: what was imported is on the disk before anything is measured.
    await database.db('admin').command({ fsync: 1 });
  }
  const status = await database.db('admin').command({ serverStatus: 1 });
  const end = async () => {
    if (seed) await database.db().dropDatabase();
    process.exit(0);
  };
  process.stdin.on('end', end).resume();
  console.log(JSON.stringify({ event: 'ready', url, mongod_pid: Number(status.pid), mongod: status.version }));
};

main().catch((problem) => {
  console.error(problem);
  process.exit(1);
});
