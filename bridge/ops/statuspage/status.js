// Shows what /status.json says, every two seconds while somebody looks.
const every = 2000;
const $ = (id) => document.getElementById(id);
const number = new Intl.NumberFormat('en');

function bytes(n) {
  const units = ['B', 'kB', 'MB', 'GB'];
  let unit = 0;
  for (; n >= 1000 && unit < units.length - 1; unit++) n /= 1000;
  return `${unit ? n.toFixed(1) : n} ${units[unit]}`;
}

function lasting(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} days`;
}

const duration = (ms) => (ms < 1000 ? `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);

function list(id, pairs) {
  $(id).replaceChildren(
    ...pairs.flatMap(([name, value]) => {
      const dt = document.createElement('dt');
      const dd = document.createElement('dd');
      dt.textContent = name;
      dd.textContent = value;
      return [dt, dd];
    }),
  );
}

function draw(moments, slots, now) {
  const svg = $('latency');
  const [width, height, left, bottom, top] = [Math.max(300, svg.clientWidth), svg.clientHeight, 52, 20, 10];
  svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
  const make = (name, attributes, text) => {
    const element = document.createElementNS('http://www.w3.org/2000/svg', name);
    for (const key of Object.keys(attributes)) element.setAttribute(key, attributes[key]);
    if (text !== undefined) element.textContent = text;
    return element;
  };
  // A logarithmic scale from 1 ms up to what is needed.
  const highest = Math.max(1000, ...moments.map((m) => m.p99_ms));
  const decades = Math.ceil(Math.log10(highest));
  const y = (ms) => height - bottom - (Math.log10(Math.max(1, ms)) / decades) * (height - bottom - top);
  const span = slots.seconds * slots.count * 1000;
  const x = (at) => left + (1 - (now - at) / span) * (width - left);
  const most = Math.max(1, ...moments.map((m) => m.changes));
  const parts = [];
  for (let decade = 0; decade <= decades; decade++) {
    parts.push(make('line', { class: 'grid', x1: left, x2: width, y1: y(10 ** decade), y2: y(10 ** decade) }));
    parts.push(make('text', { x: left - 6, y: y(10 ** decade) + 3, 'text-anchor': 'end' }, duration(10 ** decade).replace('.0', '')));
  }
  for (const minutes of [15, 10, 5, 0]) {
    parts.push(make('text', { x: x(now - minutes * 60000), y: height - 4, 'text-anchor': minutes === 0 ? 'end' : 'start' }, minutes ? `−${minutes} min` : 'now'));
  }
  for (const m of moments) {
    const tall = (m.changes / most) * 40;
    parts.push(make('rect', { x: x(Date.parse(m.at)), y: height - bottom - tall, width: Math.max(1, (width - left) / slots.count - 1), height: tall }));
  }
  for (const [kind, key] of [['p99', 'p99_ms'], ['median', 'median_ms']]) {
    let path = '';
    let last = -Infinity;
    for (const m of moments) {
      const at = Date.parse(m.at);
      const point = `${x(at).toFixed(1)} ${y(m[key]).toFixed(1)}`;
      path += at - last > slots.seconds * 6000 ? `M${point}h2` : `L${point}`; // no line across half a minute without changes
      last = at;
    }
    if (path) parts.push(make('path', { class: kind, d: path }));
  }
  svg.replaceChildren(...parts);
}

function problem(line) {
  const { level, time, message, ...more } = line;
  const item = document.createElement('li');
  const at = document.createElement('time');
  const text = document.createElement('span');
  if (time) {
    at.dateTime = time;
    at.textContent = new Date(time).toLocaleTimeString();
  }
  text.className = level;
  text.textContent = [message, ...Object.entries(more).map(([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`)].join(' ');
  item.append(at, text);
  return item;
}

function show(s) {
  const now = Date.parse(s.now);
  $('node').textContent = `${s.node} ${s.version}`;
  const state = $('state');
  state.dataset.state = s.state;
  state.textContent = `${s.state.replace('_', ' ')} for ${lasting((now - Date.parse(s.since)) / 1000)}${s.reason ? `: ${s.reason}` : ''}`;
  document.title = `${s.state.replace('_', ' ')} · supabridge`;
  $('lag').textContent = s.lag_ms ? `last change ${duration(s.lag_ms)}` : '';
  draw(s.latency, s.slots, now);
  $('connections').textContent = number.format(Object.values(s.connections).reduce((a, b) => a + b, 0));
  list('connected', [
    ...Object.entries(s.connections).map(([name, n]) => [name, number.format(n)]),
    ...Object.entries(s.dialects).map(([name, n]) => [`dialect ${name}`, number.format(n)]),
    ['waiting to be sent', bytes(s.queue_bytes)],
    ['sent', bytes(s.traffic.BytesOut)],
    ['received', bytes(s.traffic.BytesIn)],
  ]);
  list('feed', [
    ['last read', `${lasting(s.read_ago_seconds)} ago`],
    ['repaired', number.format(s.repaired)],
    ['repeats dropped', number.format(s.repeats)],
    ['stalls', number.format(s.stalls)],
    ...(s.outbox ? [['webhooks waiting', number.format(s.outbox.waiting)], ['webhooks given up', number.format(s.outbox.dead)], ['outbox', bytes(s.outbox.bytes)],
      ...(s.outbox.reason ? [['oldest waits', `${lasting(s.outbox.oldest_seconds)}: ${s.outbox.reason}`]] : [])] : []),
  ]);
  list('process', [
    ['running for', lasting((now - Date.parse(s.started)) / 1000)],
    ['heap', bytes(s.heap_bytes)],
    ['goroutines', number.format(s.goroutines)],
  ]);
  $('in-cluster').hidden = !s.cluster;
  if (s.cluster) {
    list('cluster', [
      ['Redis', s.cluster.up ? 'there' : 'away'],
      ['leader', s.cluster.leads ? 'this node' : 'another'],
      ['changes', s.cluster.hears ? 'by Realtime' : 'by the leader'],
      ['other bridges', number.format(s.cluster.peers)],
      ['other servers', number.format(Math.max(0, s.cluster.servers - s.cluster.peers))],
      ['waiting', bytes(s.cluster.waiting)],
    ]);
  }
  $('room-count').textContent = number.format(s.rooms);
  $('rooms').tBodies[0].replaceChildren(
    ...s.fullest.map((room) => {
      const row = document.createElement('tr');
      for (const value of [room.name, number.format(room.sockets)]) row.insertCell().textContent = value;
      return row;
    }),
  );
  const problems = s.problems.map(problem);
  if (!problems.length) {
    const none = document.createElement('li');
    none.className = 'quiet';
    none.textContent = 'none';
    problems.push(none);
  }
  $('problems').replaceChildren(...problems);
}

async function refresh() {
  try {
    const response = await fetch('status.json', { signal: AbortSignal.timeout(5000) });
    if (!response.ok) throw new Error(response.status);
    show(await response.json());
    $('offline').hidden = true;
  } catch {
    $('offline').hidden = false;
    $('state').dataset.state = 'unknown';
  }
}

(async () => {
  for (;;) {
    if (!document.hidden) await refresh();
    await new Promise((resolve) => setTimeout(resolve, every));
  }
})();
