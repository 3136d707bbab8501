// The job of the sandboxed worker.
module.exports = async (job) => ({ ok: true, i: job.data.i });
