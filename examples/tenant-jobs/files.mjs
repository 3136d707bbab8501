// The storage with the tenants' files. The story can let it wait before it answers: that is when workers are killed.

const ORDERS_MIN = 20;

/** The orders in a file: others for each number in its name, the same whenever it is read. */
export function ordersIn(file) {
  const seed = Number(file.match(/\d+/)?.[0] ?? 0);
  const lines = Array.from({ length: ORDERS_MIN + (seed % 30) }, (_, index) => {
    const cents = (seed * 7919 + index * 104729) % 100_000;
    return `customer-${(seed + index) % 9},${Math.floor(cents / 100)}.${String(cents % 100).padStart(2, '0')}`;
  });
  return ['customer,amount', ...lines, ''].join('\n');
}

function contentOf(file) {
  if (file.startsWith('broken')) return 'customer,amount\nada,12.50\nbob;7,90\n';
  if (file.startsWith('huge')) return `customer,amount\n${'ada,12.50\n'.repeat(600_000)}`;
  return ordersIn(file);
}

export class Files {
  #waiting = new Set();
  #isHeld = false;
  #failures = new Map();
  #reads = new Map();

  static async open(stage) {
    const files = new Files();
    const service = await stage.service(({ path }) => files.#answer(path));
    files.url = service.url;
    return files;
  }

  /** Readers wait from now on. */
  hold() {
    this.#isHeld = true;
  }

  /** Everybody who waits is answered. */
  release() {
    this.#isHeld = false;
    for (const go of this.#waiting) go();
    this.#waiting.clear();
  }

  /** How many readers wait. */
  get waiting() {
    return this.#waiting.size;
  }

  /** Answers the next so many readers of a file with 503. */
  fail(file, times) {
    this.#failures.set(file, times);
  }

  /** How often a file was read. */
  reads(file) {
    return this.#reads.get(file) ?? 0;
  }

  async #answer(path) {
    const file = path.split('/').at(-1);
    this.#reads.set(file, this.reads(file) + 1);
    if (this.#isHeld) await new Promise((go) => this.#waiting.add(go));
    const failures = this.#failures.get(file) ?? 0;
    if (failures > 0) {
      this.#failures.set(file, failures - 1);
      return { status: 503 };
    }
    return { headers: { 'content-type': 'text/csv' }, body: contentOf(file) };
  }
}
