// @parse/node-apn alone.
'use strict';

const apn = require('@parse/node-apn');
const { work, measure } = require('./client');

const provider = new apn.Provider({
  token: { key: work.apns_key_file, keyId: work.apns_key_id, teamId: work.apns_team_id },
  address: '127.0.0.1',
  port: Number(new URL(work.apns).port),
  ca: work.ca_file,
});
const notification = new apn.Notification({ topic: work.apns_topic, pushType: 'alert', priority: 10 });
notification.alert = { title: work.title, body: work.body };

const send = async (tokens) => {
  const { failed } = await provider.send(notification, tokens);
  return failed.map(({ status, error }) => String(status ?? error?.message).slice(0, 80));
};
measure(send, { size: 1000, calls: 1 });
