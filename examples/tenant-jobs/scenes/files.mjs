// Names of files, each used once in a story, so that the storage can tell how often each job was worked.

let last = 0;

export function numbered(count) {
  return Array.from({ length: count }, () => `orders-${(last += 1)}.csv`);
}
