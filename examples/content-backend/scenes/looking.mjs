// What everybody says when they start, and what `jobcell check` says of the keys.

export async function looking(stage, team) {
  const { redis } = team;
  const checked = await stage.jobcell(['check'], team.hostEnv(redis.url));
  stage.equal('jobcell check finds no fault', checked.code, 0);
  const row = (name) => checked.stdout.split('\n').find((line) => line.includes(`bucket ${name}:`)) ?? '';
  for (const line of checked.stdout.trim().split('\n')) stage.note(line);
  stage.check('it says which keys each bucket is over', /keys "feed:…", read and written, for 10m each/.test(row('feeds')), checked.stdout);
  stage.check('and that sessions can only be read', /keys "session:sess:…", read only/.test(row('sessions')), row('sessions'));
  stage.check('an empty cache is told of, with what to look at', /none is there now; if there should be/.test(row('feeds')), row('feeds'));

  team.api1 = await team.api(redis.url);
  team.host1 = await team.host(redis.url);
  for (const line of team.api1.program.lines) stage.note(`api   ${line}`);
  stage.note(`host  ${await team.host1.line(/INFO ready/)}`);
  const health = await team.host1.get('/health');
  stage.note(`host  GET /health → status ${health.status}, redis ${health.redis?.status}`);
}
