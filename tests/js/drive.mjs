// Uploads one file with tus-js-client, the way a job says, and prints what happened as JSON.
//
// The job is JSON in the first argument:
//   file     the path to upload
//   source   how the client gets it: "buffer", "file" (a seekable stream) or "stream" (it is not)
//   options  tus-js-client's own options
//   store    where to keep the URL, for jobs that resume
//   play     one of the functions below
// Every request is told on stderr as it is answered. Nothing in here judges: the tests in tests/clients do.

import { createReadStream, readFileSync } from "node:fs";
import { PassThrough } from "node:stream";
import * as tus from "tus-js-client";

const job = JSON.parse(process.argv[2]);
const requests = [];

const sources = {
  buffer: () => readFileSync(job.file),
  file: () => createReadStream(job.file),
  stream: () => createReadStream(job.file).pipe(new PassThrough()),
};

function makeUpload(settle, hooks = {}) {
  return new tus.Upload(sources[job.source ?? "buffer"](), {
    retryDelays: [0, 100, 200, 400, 800, 1600],
    ...(job.store ? { urlStorage: new tus.FileUrlStorage(job.store) } : {}),
    ...job.options,
    onAfterResponse: (request, response) => {
      const line = `${request.getMethod()} ${response.getStatus()}`;
      requests.push(line);
      console.error(line);
    },
    onError: settle.reject,
    onSuccess: settle.resolve,
    ...hooks,
  });
}

// Uploads from the beginning to the end.
function plain(settle) {
  const upload = makeUpload(settle);
  upload.start();
  return upload;
}

// Stops after the first chunk and forgets everything but the stored URL.
function abort(settle) {
  const upload = makeUpload(settle, {
    onChunkComplete: () => upload.abort().then(settle.resolve, settle.reject),
  });
  upload.start();
  return upload;
}

// Goes on from the stored URL.
function resume(settle) {
  const upload = makeUpload(settle);
  upload
    .findPreviousUploads()
    .then(([previous]) => {
      upload.resumeFromPreviousUpload(previous);
      upload.start();
    })
    .catch(settle.reject);
  return upload;
}

// Changes its mind after the first chunk, and has the upload removed.
function terminate(settle) {
  const upload = makeUpload(settle, {
    onChunkComplete: () => upload.abort(true).then(settle.resolve, settle.reject),
  });
  upload.start();
  return upload;
}

const plays = { plain, abort, resume, terminate };

let upload;
const done = new Promise((resolve, reject) => {
  upload = plays[job.play ?? "plain"]({ resolve, reject });
});
const error = await done.then(() => null, (reason) => String(reason));
process.stdout.write(JSON.stringify({ url: upload.url, requests, error }), () => process.exit(0));
