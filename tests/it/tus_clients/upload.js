// Uploads one file with tus-js-client. Arguments: endpoint, token, file, name, how. Prints the upload's address.
'use strict';
const fs = require('node:fs');
const { PassThrough } = require('node:stream');
const tus = require('tus-js-client');

const [endpoint, token, path, name, how] = process.argv.slice(2);
const bytes = fs.readFileSync(path);
const ways = {
  whole: {},
  pieces: { chunkSize: 60_000 },
  first: { uploadDataDuringCreation: true },
  // A call that is still going on: a stream of which nobody knows the length.
  live: { chunkSize: 60_000, uploadLengthDeferred: true },
  posts: { chunkSize: 60_000, overridePatchMethod: true },
};
// Through a pipe: a stream of a file is cut into pieces by its length, and then the last one is announced too long.
const input = how === 'live' ? fs.createReadStream(path).pipe(new PassThrough()) : bytes;

const upload = new tus.Upload(input, {
  endpoint,
  headers: { Authorization: `Bearer ${token}` },
  metadata: { filename: name, filetype: 'audio/wav', call_id: `by ${how}` },
  retryDelays: Array(500).fill(5),
  ...ways[how],
  onError(error) {
    console.error(String(error));
    process.exit(1);
  },
  onSuccess() {
    console.log(new URL(upload.url).pathname);
  },
});
upload.start();
