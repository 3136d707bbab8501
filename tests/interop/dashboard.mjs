// Drives a real browser over the dashboard of a host that has the queues `work` and `other`, both for the guest `basic`.
// Started with one argument, JSON: what to do (`scenario`) where (`base`, prefix included), with which `token` if any is
// needed, the `chromium`, and where pictures go (`shots`). Each fault is a line; without any the exit code is 0.
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const asked = JSON.parse(process.argv[2]);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const FLAGS = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
];
// Every wait ends; a slow machine is no fault.
const SOON = 20_000;
const PHONE = { width: 390, height: 844 };
const DESK = { width: 1360, height: 900 };
const faults = [];
const check = (is, text) => { if (!is) faults.push(text); };

// What the browser has no part in: jobs come from producers.
async function api(method, path, body) {
  const headers = { "content-type": "application/json", ...(asked.admin && { authorization: `Bearer ${asked.admin}` }) };
  const answer = await fetch(`${asked.base}/api/v1${path}`, { method, headers, body: body && JSON.stringify(body), signal: AbortSignal.timeout(SOON) });
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
  return answer.status === 204 ? null : answer.json();
}

const job = (queue, name, data, opts, query = "") => api("POST", `/queues/${queue}/jobs${query}`, { name, data, opts });

// One job of each kind that pages show.
async function fill() {
  const hostile = "</script><script>alert(1)</script><img src=x onerror=alert(2)>";
  await job("work", "noop", { i: 1, note: hostile }, { jobId: "done" }, "?wait=30");
  for (const id of ["failing", "failing-2", "failing-3"]) {
    await job("work", "fail", { kind: "fatal", message: `refused for good: ${hostile}` }, { jobId: id }, "?wait=30");
  }
  await job("work", "flaky", { until: 3 }, { jobId: "tried", attempts: 5, backoff: 20 }, "?wait=30");
  await job("work", "noop", { i: 2 }, { jobId: "later", delay: 3_600_000 });
  await job("work", "noop", { i: 3 }, { jobId: "parent", delay: 7_200_000 });
  await job("work", "noop", { i: 4 }, { jobId: "child", delay: 7_200_000, parent: { id: "parent", queue: "bull:work" } });
  await api("PUT", "/queues/work/schedulers/hourly", { pattern: "0 * * * *", name: "noop", data: { i: 5 } });
}

const browser = await chromium.launch({ executablePath: asked.chromium, args: FLAGS });

async function open(options = {}) {
  const context = await browser.newContext({ viewport: DESK, colorScheme: "light", ...options });
  context.setDefaultTimeout(SOON);
  const page = await context.newPage();
  page.expected = [];
  page.on("console", (message) => {
    if (message.type() !== "error" || page.expected.some((part) => message.text().includes(part))) return;
    faults.push(`console at ${page.url()}: ${message.text()}`);
  });
  page.on("pageerror", (error) => faults.push(`script at ${page.url()}: ${error.message}`));
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.protocol.startsWith("http") && url.host !== new URL(asked.base).host) faults.push(`a request left for ${url.host}`);
  });
  return page;
}

async function go(page, path, status = 200) {
  if (status !== 200) page.expected.push(`status of ${status}`);
  const answer = await page.goto(asked.base + path, { waitUntil: "load" });
  check(answer.status() === status, `${path}: ${answer.status()}, not ${status}`);
}

async function looksWell(page, name) {
  const wide = await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
  check(wide[0] <= wide[1], `${name}: ${wide[0]} px are wider than the window's ${wide[1]}`);
  const cut = await page.evaluate(() => [...document.querySelectorAll(".ask:popover-open, .ask:popover-open *")]
    .filter((node) => node.scrollWidth > node.clientWidth + 1 && getComputedStyle(node).display !== "inline").map((node) => node.outerHTML.slice(0, 80)));
  check(cut.length === 0, `${name}: the question is cut: ${cut.slice(0, 2).join(" | ")}`);
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  for (const { id, impact, help, nodes } of violations) {
    if (!["serious", "critical"].includes(impact)) continue;
    faults.push(`${name}: ${impact} ${id}: ${help}: ${nodes.slice(0, 3).map((node) => `${node.html.slice(0, 160)} ${node.any.map((any) => any.message).join(" ").slice(0, 160)}`).join(" | ")}`);
  }
  mkdirSync(asked.shots, { recursive: true });
  await page.screenshot({ path: `${asked.shots}/${name}.png`, fullPage: true });
}

// Everything on the page that does something can be reached by the keyboard alone, in order, and is seen to be reached.
async function reached(page, name) {
  const wanted = await page.evaluate(() => {
    document.activeElement?.blur();
    const all = [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary")];
    const there = all.filter((node) => node.checkVisibility({ visibilityProperty: true }) && !node.disabled);
    there.forEach((node, at) => { node.dataset.wanted = at; });
    return there.length;
  });
  const seen = new Set();
  for (let press = 0; press < wanted * 2 + 20 && seen.size < wanted; press += 1) {
    await page.keyboard.press("Tab");
    const [at, told] = await page.evaluate(() => {
      const node = document.activeElement;
      const style = getComputedStyle(node);
      const shown = style.outlineStyle !== "none" && style.outlineWidth !== "0px";
      return [node.dataset.wanted, shown ? "" : node.outerHTML.slice(0, 120)];
    });
    if (at !== undefined) {
      check(told === "", `${name}: nothing shows that this has the focus: ${told}`);
      seen.add(at);
    }
  }
  const missed = await page.evaluate((seen) => [...document.querySelectorAll("[data-wanted]")]
    .filter((node) => !seen.includes(node.dataset.wanted)).map((node) => node.outerHTML.slice(0, 120)), [...seen]);
  check(missed.length === 0, `${name}: Tab does not reach ${missed.slice(0, 3).join(" | ")}`);
}

const text = (page, part) => page.getByText(part).first().waitFor();
const press = (page, name, within = page) => within.getByRole("button", { name, exact: true }).click();
// A question is open over the page: the button in it.
const agree = async (page, name) => press(page, name, page.locator(".ask:popover-open"));

const PAGES = {
  overview: "", day: "?range=24h", queues: "/queues", filtered: "/queues?q=wor", failed: "/queues/work?state=failed",
  completed: "/queues/work?state=completed", delayed: "/queues/work?state=delayed",
  "for-children": "/queues/work?state=waiting-children", empty: "/queues/other?state=waiting",
  job: "/queues/work/jobs/failing", tried: "/queues/work/jobs/tried", result: "/queues/work/jobs/done", flow: "/queues/work/jobs/parent", add: "/queues/work/add", schedules: "/schedules",
  handlers: "/handlers", handler: "/handlers/basic", hosts: "/hosts", audit: "/audit",
};

const scenarios = {
  // Each page in each colour and on a phone: looks well, says nothing on the console, has no serious fault for those who
  // hear it, leaves nothing outside the window.
  async pages() {
    for (const [mode, options] of [["light", {}], ["dark", { colorScheme: "dark" }], ["phone", { viewport: PHONE, isMobile: true }]]) {
      const page = await open(options);
      for (const [name, path] of Object.entries(PAGES)) {
        await go(page, path);
        await looksWell(page, `${name}-${mode}`);
      }
      await go(page, "/queues/work/jobs/none", 404);
      await looksWell(page, `missing-${mode}`);
      await page.context().close();
    }
    // Dark by choice, on a machine that is light.
    const page = await open();
    await go(page, "");
    await press(page, "Dark colours");
    await page.waitForFunction(() => document.documentElement.dataset.theme === "dark");
    const ground = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    check(ground === "rgb(14, 17, 22)", `dark by choice: ${ground}`);
    await go(page, "/hosts");
    check(await page.evaluate(() => document.documentElement.dataset.theme) === "dark", "the choice is kept");
  },

  // Everything that can be done, by the keyboard where that is quicker, and what it came to.
  async acts() {
    const page = await open();
    await go(page, "/queues/work");
    await press(page, "Pause");
    await text(page, "work is paused");
    await press(page, "Limits");
    await page.getByLabel("Jobs at once").fill("3");
    await looksWell(page, "question-limits");
    await agree(page, "Set limits");
    await text(page, "at most 3 at once");
    // A job is added, with a delay, and promoted.
    await page.getByRole("link", { name: "Add a job" }).click();
    await page.getByLabel("Name", { exact: true }).fill("noop");
    await page.getByLabel("Payload").fill('{"i": 7}');
    await page.getByLabel("Delay in milliseconds").fill("3600000");
    await page.getByText("More options").click();
    await page.getByLabel("Id", { exact: true }).fill("by-hand");
    await press(page, "Add the job");
    await text(page, "Job by-hand is added");
    await press(page, "Promote");
    await text(page, "Job by-hand is due now");
    await press(page, "Cancel");
    await text(page, "Job by-hand is cancelled");
    await press(page, "Retry");
    await text(page, "waits to run again");
    // Nothing runs while the queue is paused; then it does, and the page learns of it by itself.
    await page.locator("#facts").getByText("Waiting", { exact: true }).waitFor();
    await api("POST", "/queues/work/resume");
    await page.locator("#facts").getByText("Completed", { exact: true }).waitFor();
    await press(page, "Remove…");
    await agree(page, "Remove it");
    await text(page, "Job by-hand is removed");
    // One that used up its attempts gets all of them again.
    await go(page, "/queues/work/jobs/failing-3");
    await press(page, "Retry with all attempts");
    await text(page, "Job failing-3 waits to run again");
    await page.locator("#facts").getByText("Failed", { exact: true }).waitFor();
    // A whole flow goes at once.
    await go(page, "/queues/work/jobs/parent");
    await press(page, "Remove…");
    await page.getByLabel("All jobs below it in its flow as well").check();
    await agree(page, "Remove it");
    await text(page, "Job parent is removed");
    await go(page, "/queues/work/jobs/child", 404);
    // Many at once.
    await go(page, "/queues/work?state=failed");
    await page.getByLabel("Select all on this page").check();
    await text(page, "3 selected");
    await page.getByLabel("Select job failing", { exact: true }).uncheck();
    await press(page, "Remove selected");
    await text(page, "2 jobs removed");
    await press(page, "Retry all failed");
    await agree(page, "Retry all failed");
    await text(page, "1 job run again");
    for (const id of ["soon", "never"]) await job("work", "noop", { i: 8 }, { jobId: id, delay: 3_600_000 });
    await go(page, "/queues/work?state=delayed");
    await page.getByLabel("Select job never", { exact: true }).check();
    await press(page, "Cancel selected");
    await text(page, "1 job cancelled");
    await page.getByLabel("Select job soon", { exact: true }).check();
    await press(page, "Promote selected");
    await text(page, "1 job made due");
    await go(page, "/queues/work?state=delayed");
    await press(page, "Promote all delayed");
    await agree(page, "Promote all delayed");
    await text(page, "made due");
    await go(page, "/queues/work?state=completed");
    await press(page, "Clean…");
    await page.getByLabel("Older than, in minutes").fill("0");
    await agree(page, "Remove them");
    await text(page, "(completed) removed from work");
    // In the list of all queues each has its button.
    await go(page, "/queues");
    await press(page, "Pause", page.getByRole("row", { name: "other" }));
    await text(page, "other is paused");
    await go(page, "/queues");
    await press(page, "Resume", page.getByRole("row", { name: "other" }));
    await text(page, "other gives out jobs again");
    await go(page, "/queues/other");
    await press(page, "Drain…");
    await page.keyboard.press("Escape");
    await page.locator(".ask:popover-open").waitFor({ state: "detached" }).catch(() => check(false, "Escape closes a question"));
    await press(page, "Drain…");
    await agree(page, "Drain the queue");
    await text(page, "removed from other");
    await go(page, "/schedules");
    await page.getByLabel("Queue", { exact: true }).fill("work");
    await page.getByLabel("Id", { exact: true }).fill("nightly");
    await page.getByLabel("Cron pattern").fill("0 3 * * *");
    await page.getByLabel("Name of its jobs").fill("noop");
    await press(page, "Set the schedule");
    await text(page, "Schedule nightly of work is set");
    await press(page, "Remove…", page.getByRole("row", { name: "nightly" }));
    await agree(page, "Remove it");
    await text(page, "Schedule nightly of work is removed");
    await go(page, "/hosts");
    await press(page, "Quiet");
    await text(page, "takes no new jobs in a moment");
    await page.locator(".state.quiet").waitFor();
    await press(page, "Take jobs again");
    await page.locator(".state.running").waitFor();
    await go(page, "/audit");
    for (const act of ["queue pause", "queue limits", "job add", "job cancel", "job remove", "queue clean", "queue drain", "schedule set", "host quiet"]) {
      check(await page.getByText(act, { exact: true }).count() > 0, `the audit has ${act}`);
    }
    for (const state of ["{\"paused\":false}", "\"pattern\":\"0 3 * * *\""]) {
      check((await page.locator("table.audit").textContent()).includes(state), `the audit says how it was or is: ${state}`);
    }
    await looksWell(page, "audit-full");
    const phone = await open({ viewport: PHONE, isMobile: true });
    await go(phone, "/audit");
    await looksWell(phone, "audit-full-phone");
    await phone.context().close();
    // The last thing of all: the host may be gone before it could show the next page.
    page.expected.push("Failed to load resource", "ERR_");
    await go(page, "/hosts");
    await press(page, "Stop…");
    await looksWell(page, "question-stop");
    const ordered = page.waitForResponse((answer) => answer.request().method() === "POST");
    await agree(page, "Stop this host");
    check((await ordered).status() === 303, "the host is told to stop");
  },

  // Versions of a handler: who takes the jobs, and everything that can be done about it.
  async versions() {
    const { one, two, wider } = asked.versions;
    const page = await open();
    const row = (version) =>
      page.locator("section[aria-labelledby=versions-title] tr", { has: page.locator("th code", { hasText: version }) });
    const ask = async (label, version, agreed, fill = async () => {}) => {
      await press(page, label, version ? row(version) : page);
      await fill(page.locator(".ask:popover-open"));
      await agree(page, agreed);
    };
    const why = (words) => async (question) => question.getByLabel("Why").fill(words);
    await job("work", "noop", { i: 1 }, {}, "?wait=30");
    await go(page, "/handlers/basic");
    for (const shown of ["Grants and limits", "kv totals", "up to 64 MiB"]) await text(page, shown);
    await ask("Canary…", two, "Begin", async (question) => {
      await question.getByLabel("Percent of the jobs").fill("50");
      // Jobs go on while somebody thinks, and the question stays.
      for (let n = 0; n < 20; n += 1) await job("work", "noop", { i: n }, {}, "?wait=30");
      await page.waitForTimeout(1500);
      check(await page.locator(".ask:popover-open").count() === 1, "a question stays open while the page keeps up");
      await looksWell(page, "question-canary");
    });
    await text(page, `${two} takes 50 % of the jobs`);
    for (let n = 0; n < 20; n += 1) await job("work", "noop", { i: n }, {}, "?wait=30");
    await page.locator("section[aria-labelledby=traffic-title] tr", { hasText: two }).waitFor();
    await page.locator("section[aria-labelledby=traffic-title] .state.canary").first().waitFor();
    for (const [mode, options] of [["light", {}], ["dark", { colorScheme: "dark" }], ["phone", { viewport: PHONE, isMobile: true }]]) {
      const other = await open(options);
      await go(other, "/handlers/basic");
      await looksWell(other, `canary-${mode}`);
      await go(other, "/handlers");
      await text(other, "canary 50 %");
      await looksWell(other, `handlers-canary-${mode}`);
      await other.context().close();
    }
    await ask("Promote the canary", null, "Promote", why("it does well"));
    await text(page, "the canary takes all jobs");
    await row(two).locator(".state.active").waitFor();
    await ask("Roll back", null, "Roll back", why("it does not"));
    await text(page, "basic is rolled back");
    await row(one).locator(".state.active").waitFor();
    await ask("Canary…", two, "Begin");
    await text(page, "takes 10 % of the jobs");
    await ask("End the canary", null, "End the canary");
    await text(page, "basic is rolled back");
    await ask("Activate…", two, "Activate");
    await text(page, `${two} takes all jobs`);
    await row(two).locator(".state.active").waitFor();
    // One that wants more is shown beside the active one, and is asked about.
    await row(wider).locator(".tag.wide-open", { hasText: "kv totals" }).waitFor();
    await ask("Activate…", wider, "Activate", why("totals are asked for"));
    await page.getByRole("heading", { name: "touch more?" }).waitFor();
    await text(page, "+ kv totals");
    await looksWell(page, "approval");
    await page.setViewportSize(PHONE);
    await looksWell(page, "approval-phone");
    await page.setViewportSize(DESK);
    await page.emulateMedia({ colorScheme: "dark" });
    await looksWell(page, "approval-dark");
    await page.emulateMedia({ colorScheme: "light" });
    await page.getByRole("link", { name: "Leave things as they are" }).click();
    await row(two).locator(".state.active").waitFor();
    await ask("Activate…", wider, "Activate", why("totals are asked for"));
    await press(page, "Approve and activate");
    await text(page, `${wider} takes all jobs`);
    await row(wider).locator(".state.active").waitFor();
    await ask("Quarantine…", wider, "Quarantine", why("it counts twice"));
    await text(page, `${wider} is in quarantine`);
    await row(wider).locator(".state.quarantined").waitFor();
    await row(two).locator(".state.active").waitFor();
    await looksWell(page, "quarantined");
    await ask("Release…", wider, "Release");
    await text(page, `${wider} may be activated again`);
    await row(wider).locator(".state.staged").waitFor();
    await api("POST", "/handlers/basic/shadow", { version: one, percent: 100 });
    await ask("End the shadow", null, "End the shadow");
    await text(page, "the shadow has ended");
    // Charts mark when versions changed, and the audit has who agreed to what.
    await go(page, "");
    check(await page.locator(".swap-line").count() > 0, "the charts mark swaps");
    await page.locator(".marks li", { hasText: `basic → ${two}` }).first().waitFor();
    await looksWell(page, "overview-marked");
    await go(page, "/audit");
    const audit = await page.locator("table.audit").textContent();
    for (const part of ["handler canary", "handler promote", "handler rollback", "handler quarantine", "handler release",
      "handler end-shadow", "\"approved\":[\"cache\",\"kv totals\"]", "totals are asked for"]) {
      check(audit.includes(part), `the audit has ${part}`);
    }
    await looksWell(page, "audit-versions");
  },

  // By the keyboard alone.
  async keyboard() {
    const page = await open();
    for (const name of ["overview", "queues", "failed", "job", "add", "schedules", "handler", "hosts", "audit"]) {
      await go(page, PAGES[name]);
      await reached(page, name);
    }
    await go(page, "/queues/work?state=failed");
    await page.keyboard.press("Tab");
    check(await page.evaluate(() => document.activeElement.textContent) === "Skip to the page", "the first stop skips the navigation");
    await page.keyboard.press("Enter");
    check(await page.evaluate(() => document.activeElement.id) === "main", "and leads to the page");
    await page.getByRole("button", { name: "Retry all failed" }).focus();
    await page.keyboard.press("Enter");
    await page.locator(".ask:popover-open").waitFor();
    await page.keyboard.press("Tab");
    check(await page.evaluate(() => document.activeElement.closest(".ask") !== null), "Tab goes into the question");
    await page.keyboard.press("Escape");
    check(await page.locator(".ask:popover-open").count() === 0, "Escape closes it");
    check(await page.evaluate(() => document.activeElement.textContent) === "Retry all failed", "and the focus is back");
    await page.keyboard.press("Enter");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await text(page, "3 jobs run again");
    await go(page, "/queues");
    await page.keyboard.press("/");
    check(await page.evaluate(() => document.activeElement.id) === "q", "/ leads to the filter");
    await page.keyboard.type("oth");
    await page.keyboard.press("Enter");
    await page.getByRole("row", { name: "other" }).waitFor();
    check(await page.getByRole("row", { name: "work" }).count() === 0, "the list is filtered");
  },

  // Nobody has configured anything for it: what ends is in the charts at once.
  async charts() {
    const page = await open();
    await go(page, "");
    const drawn = async (title) => page.getByRole("img", { name: new RegExp(`^${title} in the last hour`) }).getAttribute("aria-label");
    check(/: 2 in all/.test(await drawn("Completed jobs")), `completed jobs: ${await drawn("Completed jobs")}`);
    check(/: 3 in all/.test(await drawn("Failed jobs")), `failed jobs: ${await drawn("Failed jobs")}`);
    check(await page.locator("rect.bar-done").count() > 0 && await page.locator("rect.bar-failed").count() > 0, "bars are drawn");
  },

  // A page that is looked at keeps up with what happens, and a log grows line by line.
  async live() {
    const page = await open();
    await go(page, "/queues/work?state=active");
    await page.locator("#live[data-state=on]").waitFor();
    await api("POST", "/queues/work/pause");
    await job("work", "sleep", { ms: 600_000 }, { jobId: "sleeper" });
    await job("work", "logs", { lines: 3 }, { jobId: "talker" });
    const talker = await open();
    await go(talker, "/queues/work/jobs/talker");
    await text(talker, "Nothing logged");
    await api("POST", "/queues/work/resume");
    // Nobody touches either page from here on.
    await page.getByRole("link", { name: "sleep" }).waitFor();
    await talker.locator(".log li").nth(8).waitFor();
    const lines = await talker.locator(".log li").allTextContents();
    check(lines.filter((line) => line.includes("log 2")).length === 1, `each line once: ${lines}`);
    await talker.locator("#facts").getByText("Completed", { exact: true }).waitFor();
    await looksWell(talker, "log");
    await go(talker, "/queues/work/jobs/sleeper");
    await press(talker, "Cancel");
    await talker.locator("#facts").getByText("Failed", { exact: true }).waitFor();
    await page.getByText("No job runs").waitFor();
  },

  // The store dies under pages that are open and comes back: they say so, and are live again, untouched.
  async outage() {
    const pages = [];
    for (const path of ["", "/queues/work?state=failed", "/hosts", "/audit", "/schedules"]) {
      const page = await open();
      page.expected.push("status of 503", "Failed to load resource");
      await go(page, path);
      await page.locator("#live[data-state=on]", { hasText: "Live" }).waitFor();
      pages.push(page);
    }
    console.log("kill");
    await Promise.all(pages.map(async (page) => {
      await page.locator("#live[data-state=lost]", { hasText: "Not up to date: the store is away" }).waitFor();
      const told = await page.locator("#fault[role=alert]").textContent();
      check(/redis|store/i.test(told), `${page.url()} says why: ${told}`);
    }));
    const [overview] = pages;
    await overview.locator("#health-word .unhealthy").waitFor();
    await overview.locator("#overview .state.is-bad", { hasText: "Away" }).waitFor();
    check(await overview.locator(".strip").count() === 0, "no counter of before passes for one of now");
    await looksWell(overview, "overview-away");
    // Who comes now sees the same, and it becomes the page by itself.
    const late = await open();
    await go(late, "/queues", 503);
    await late.locator("#fault").waitFor();
    const first = await open();
    await go(first, "", 503);
    await first.locator("#overview .state.is-bad", { hasText: "Away" }).waitFor();
    console.log("start");
    await Promise.all([...pages, late, first].map((page) => page.locator("#live[data-state=on]", { hasText: "Live" }).waitFor()));
    for (const page of [...pages, late, first]) check(await page.locator("#fault").count() === 0, `${page.url()}: the note is gone`);
    await overview.locator(".strip").waitFor();
    await overview.locator("#health-word .healthy").waitFor();
  },

  // Without a script everything is there and can be done.
  async bare() {
    const page = await open({ javaScriptEnabled: false });
    for (const path of Object.values(PAGES)) await go(page, path);
    await go(page, "/queues/work");
    await press(page, "Pause");
    await text(page, "work is paused");
    await press(page, "Resume");
    await text(page, "gives out jobs again");
    await go(page, "/queues/work?state=failed");
    await page.getByLabel("Select job failing", { exact: true }).check();
    await press(page, "Retry selected");
    await text(page, "1 job retried");
  },

  // Signing in and out.
  async login() {
    const page = await open();
    page.expected.push("status of 401");
    await go(page, "/hosts");
    check(new URL(page.url()).pathname.endsWith("/login"), "whoever is not signed in is asked to");
    await looksWell(page, "login");
    await page.getByLabel("Token").fill("wrong");
    await page.keyboard.press("Enter");
    await text(page, "This token is not known");
    await looksWell(page, "login-refused");
    await page.getByLabel("Token").fill(asked.token);
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "Hosts" }).waitFor();
    const cookies = await page.context().cookies();
    const session = cookies.find((cookie) => cookie.name === "jobcell");
    check(session?.httpOnly && session.sameSite === "Strict", `the cookie: ${JSON.stringify(session)}`);
    check(await page.evaluate(() => document.cookie) === "", "no script can read a cookie");
    await go(page, "/queues/work?state=failed");
    check(await page.getByRole("button", { name: "Pause" }).count() === 0, "a viewer has no buttons");
    check(await page.getByRole("checkbox").count() === 0, "and no boxes");
    await press(page, "Sign out");
    await page.getByLabel("Token").waitFor();
    await go(page, "/queues/work?state=failed");
    check(new URL(page.url()).pathname.endsWith("/login"), "signed out is signed out");
  },

  // The picture of the README.
  async picture() {
    for (const [queue, running] of [["mail", 2], ["payments", 1], ["thumbnails", 4]]) {
      for (let n = 0; n < running; n += 1) await job(queue, "sleep", { ms: 60_000 });
    }
    for (const [queue, name, delay] of [["mail", "digest", 3_600_000], ["payments", "settle", 900_000], ["payments", "settle", 1_800_000]]) {
      await job(queue, name, { i: 1 }, { delay });
    }
    const page = await open({ viewport: { width: 1280, height: 900 } });
    await go(page, "");
    await page.locator("#live[data-state=on]").waitFor();
    mkdirSync(asked.shots, { recursive: true });
    await page.screenshot({ path: asked.picture });
  },
};

try {
  if (asked.scenario !== "picture") await fill();
  await scenarios[asked.scenario]();
} catch (error) {
  const page = browser.contexts().flatMap((context) => context.pages()).at(-1);
  if (page) {
    mkdirSync(asked.shots, { recursive: true });
    await page.screenshot({ path: `${asked.shots}/stuck-${asked.scenario}.png`, fullPage: true }).catch(() => {});
  }
  faults.push(`${error.message.split("\n").slice(0, 12).join("\n")} at ${page?.url()}`);
}
await browser.close();
faults.forEach((fault) => console.log(`- ${fault}`));
process.exit(faults.length === 0 ? 0 : 1);
