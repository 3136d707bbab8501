// The work of a job in the team's own worker: a tenant's list of orders, totalled. src/report.rs is the same in Rust.

const HEADER = 'customer,amount';
const ORDER = /^([^,]+),(\d{1,9})\.(\d\d)$/;

export function report(text) {
  const [header, ...lines] = text.trimEnd().split('\n');
  if (header !== HEADER) throw new Error(`line 1: "${header}" is not "${HEADER}"`);
  const customers = new Set();
  let [totalCents, largest] = [0, null];
  for (const [index, line] of lines.entries()) {
    const order = line.match(ORDER);
    if (!order) throw new Error(`line ${index + 2}: "${line}" is no order such as "ada,12.50"`);
    const [, customer, units, rest] = order;
    const cents = Number(units) * 100 + Number(rest);
    totalCents += cents;
    customers.add(customer);
    if (largest === null || largest.cents < cents) largest = { customer, cents };
  }
  return { orders: lines.length, customers: customers.size, totalCents, largest };
}
