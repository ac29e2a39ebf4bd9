// Loaded before a peer with `node -r`: what it says to Google goes to the sandbox instead.
//
// firebase-admin has the hosts of FCM and OAuth as constants, so their connections are led to the sandbox's
// port on the loopback; names, certificates and everything above stay as they are. Any other host that is
// not this machine is refused.
'use strict';

const http2 = require('http2');
const net = require('net');
const { syncBuiltinESMExports } = require('module');

const GOOGLE = ['fcm.googleapis.com', 'oauth2.googleapis.com'];
const HERE = ['localhost', '127.0.0.1', '::1'];
const port = Number(new URL(process.env.SANDBOX_FCM).port);

const connect = net.Socket.prototype.connect;
net.Socket.prototype.connect = function (...args) {
  // Within Node, net.connect() passes its arguments on as one list, which is marked with a symbol.
  const given = Array.isArray(args[0]) ? args[0] : net._normalizeArgs(args);
  const { host } = given[0];
  if (GOOGLE.includes(host)) {
    given[0] = { ...given[0], host: '127.0.0.1', port };
  } else if (host && !HERE.includes(host)) {
    throw new Error(`a peer wanted to reach ${host}`);
  }
  return connect.call(this, given);
};

// firebase-admin writes the pseudo-header `:scheme: https:`, with a colon. Google takes it, HTTP/2 does not
// allow it, and the sandbox is strict.
const open = http2.connect;
http2.connect = (...args) => {
  const session = open(...args);
  const request = session.request;
  session.request = (headers, options) => {
    if (headers[':scheme'] === 'https:') headers[':scheme'] = 'https';
    return request.call(session, headers, options);
  };
  return session;
};
syncBuiltinESMExports();
