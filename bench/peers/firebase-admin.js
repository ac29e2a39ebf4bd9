// firebase-admin alone: `sendEachForMulticast`, or `sendEach` when told so.
'use strict';

const { cert, initializeApp } = require('firebase-admin/app');
const { getMessaging } = require('firebase-admin/messaging');
const { work, measure } = require('./client');

const messaging = getMessaging(initializeApp({ credential: cert(work.service_account_file) }));
const notification = { title: work.title, body: work.body };
const android = { priority: 'high' };

const calls = {
  sendEach: (tokens) => messaging.sendEach(tokens.map((token) => ({ token, notification, android }))),
  sendEachForMulticast: (tokens) => messaging.sendEachForMulticast({ tokens, notification, android }),
};
const call = calls[process.argv[2]];

const send = async (tokens) => {
  const { responses } = await call(tokens);
  return responses.filter(({ success }) => !success).map(({ error }) => String(error?.code ?? error).slice(0, 80));
};
// Five hundred is the most that one call takes.
measure(send, { size: 500, calls: 1 });
