// Certificates for servers on loopback that speak TLS: an authority of the story's own, and one that it signed. Written in
// DER here, because nothing that every machine has makes them.

import { createPrivateKey, createSign, generateKeyPairSync, randomBytes } from 'node:crypto';

const DAY_MS = 86_400_000;

const der = (tag, ...parts) => {
  const body = Buffer.concat(parts);
  const size = body.length;
  const length = size < 128 ? [size] : size < 256 ? [0x81, size] : [0x82, size >> 8, size & 255];
  return Buffer.concat([Buffer.from([tag, ...length]), body]);
};
const sequence = (...parts) => der(0x30, ...parts);
const object = (...bytes) => der(0x06, Buffer.from(bytes));
const octets = (...parts) => der(0x04, ...parts);
const bits = (body) => der(0x03, Buffer.from([0]), body);
const yes = der(0x01, Buffer.from([255]));
const time = (ms) => der(0x17, Buffer.from(`${new Date(ms).toISOString().slice(2, 19).replace(/[-:T]/g, '')}Z`));
const name = (text) => sequence(der(0x31, sequence(object(0x55, 4, 3), der(0x0c, Buffer.from(text)))));

const ECDSA_SHA256 = sequence(object(0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2));
const AUTHORITY = [
  sequence(object(0x55, 0x1d, 0x13), yes, octets(sequence(yes))),
  // To sign certificates.
  sequence(object(0x55, 0x1d, 0x0f), yes, octets(der(0x03, Buffer.from([2, 4])))),
];
const SERVER = [
  // localhost and 127.0.0.1.
  sequence(object(0x55, 0x1d, 0x11), octets(sequence(der(0x82, Buffer.from('localhost')), der(0x87, Buffer.from([127, 0, 0, 1]))))),
  sequence(object(0x55, 0x1d, 0x25), octets(sequence(object(0x2b, 6, 1, 5, 5, 7, 3, 1)))),
];

const pem = (label, body) => `-----BEGIN ${label}-----\n${body.toString('base64').match(/.{1,64}/g).join('\n')}\n-----END ${label}-----\n`;

function certificate({ subject, issuer, keys, signer, extensions }) {
  const now = Date.now();
  const serial = randomBytes(8);
  serial[0] = (serial[0] & 0x7f) | 1;
  const body = sequence(
    der(0xa0, der(0x02, Buffer.from([2]))),
    der(0x02, serial),
    ECDSA_SHA256,
    name(issuer),
    sequence(time(now - DAY_MS), time(now + 30 * DAY_MS)),
    name(subject),
    keys.publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, sequence(...extensions)),
  );
  return pem('CERTIFICATE', sequence(body, ECDSA_SHA256, bits(createSign('sha256').update(body).sign(signer))));
}

/** PEM texts: the authority `ca`, and `cert` and `key` of a server on 127.0.0.1 and localhost. */
export function certificates() {
  const [authority, server] = [1, 2].map(() => generateKeyPairSync('ec', { namedCurve: 'prime256v1' }));
  const issuer = 'authority of the story';
  return {
    ca: certificate({ subject: issuer, issuer, keys: authority, signer: authority.privateKey, extensions: AUTHORITY }),
    cert: certificate({ subject: 'localhost', issuer, keys: server, signer: authority.privateKey, extensions: SERVER }),
    key: createPrivateKey(server.privateKey.export({ type: 'pkcs8', format: 'pem' })).export({ type: 'pkcs8', format: 'pem' }),
  };
}
