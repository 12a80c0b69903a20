'use strict';
(() => {
  const opened = [];
  addEventListener('beforeprint', () => {
    for (const box of document.querySelectorAll('details:not([open])')) { box.open = true; opened.push(box); }
  });
  addEventListener('afterprint', () => { while (opened.length) opened.pop().open = false; });

  const chart = document.getElementById('chart');
  const source = document.getElementById('data');
  if (!chart || !source) return;
  const data = JSON.parse(source.textContent);
  const plots = [...chart.querySelectorAll('svg.series')];
  const axis = document.getElementById('axis');
  const readout = document.getElementById('readout');
  const cursorLine = chart.appendChild(Object.assign(document.createElement('div'), { className: 'cursor', hidden: true }));
  const selection = chart.appendChild(Object.assign(document.createElement('div'), { className: 'selection', hidden: true }));
  const shortest = Math.min(data.spanMs, Math.max(data.binMs * 4, 50));
  let from = 0, span = data.spanMs, cursor = null;

  const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 3e4, 6e4, 12e4, 3e5, 6e5, 9e5, 18e5, 36e5, 72e5, 216e5, 432e5, 864e5];
  function time(ms, step) {
    if (ms < 12e4 && data.spanMs < 6e5) return (ms / 1e3).toFixed(step >= 1e3 ? 0 : step >= 100 ? 1 : step >= 10 ? 2 : 3) + ' s';
    const s = Math.floor(ms / 1e3), pad = (n) => String(n).padStart(2, '0');
    const head = s >= 3600 ? `${Math.floor(s / 3600)}:${pad(Math.floor(s / 60) % 60)}` : String(Math.floor(s / 60));
    const fraction = step < 1e3 ? (ms / 1e3 % 1).toFixed(step >= 100 ? 1 : 3).slice(1) : '';
    return `${head}:${pad(s % 60)}${fraction}`;
  }
  function lasting(us) {
    if (us === null) return 'none';
    const ms = us / 1e3;
    return ms < 10 ? ms.toFixed(2) + ' ms' : ms < 1e3 ? ms.toFixed(0) + ' ms' : (ms / 1e3).toFixed(2) + ' s';
  }
  function draw() {
    span = Math.min(Math.max(span, shortest), data.spanMs);
    from = Math.min(Math.max(from, 0), data.spanMs - span);
    chart.style.setProperty('--from', from);
    chart.style.setProperty('--span', span);
    for (const plot of plots) plot.setAttribute('viewBox', `${from} 0 ${span} 100`);
    const room = Math.max(3, Math.floor(chart.clientWidth / 90));
    const step = STEPS.find((candidate) => span / candidate <= room) ?? 864e5;
    const ticks = [];
    for (let at = Math.ceil(from / step) * step; at <= from + span; at += step) {
      const tick = document.createElement('span');
      const share = (at - from) / span;
      tick.style.left = `${share * 100}%`;
      tick.className = share < .03 ? 'first' : share > .97 ? 'last' : '';
      tick.textContent = time(at, step);
      ticks.push(tick);
    }
    axis.replaceChildren(...ticks);
    const shown = cursor !== null && cursor >= from && cursor <= from + span;
    cursorLine.hidden = !shown;
    if (shown) cursorLine.style.left = `${(cursor - from) / span * 100}%`;
  }
  function point(ms) {
    cursor = Math.min(Math.max(ms, 0), data.spanMs);
    const at = Math.min(Math.floor(cursor / data.binMs), data.ok.length - 1);
    if (at < 0) return;
    const rate = (count) => (count / data.binMs * 1e3).toFixed(0);
    const errors = data.kinds.map((kind, k) => [kind, data.errors[k][at] ?? 0]).filter(([, count]) => count > 0)
      .map(([kind, count]) => `${count} ${kind}`).join(', ');
    const during = data.faults.filter((fault) => cursor >= fault.from && cursor <= fault.to).map((fault) => fault.id).join(', ');
    readout.textContent = `${time(cursor, 10)}: ${rate(data.due[at])}/s due, ${rate(data.ok[at])}/s ok, ${rate(data.fail[at])}/s failed, ` +
      `${rate(data.info[at])}/s unknown; response p50 ${lasting(data.p50[at])}, p99 ${lasting(data.p99[at])}, longest ${lasting(data.max[at])}` +
      (errors ? `; ${errors}` : '') + (during ? `; ${during}` : '');
    draw();
  }
  function zoom(factor, around = cursor !== null && cursor >= from && cursor <= from + span ? cursor : from + span / 2) {
    const share = (around - from) / span;
    span = Math.min(Math.max(span * factor, shortest), data.spanMs);
    from = around - share * span;
    draw();
  }
  function pan(share) { from += span * share; draw(); }
  function whole() { from = 0; span = data.spanMs; draw(); }
  function fault(step) {
    if (!data.faults.length) return;
    const here = cursor ?? (step > 0 ? -1 : Infinity);
    const next = step > 0 ? data.faults.find((f) => f.from > here) ?? data.faults[0]
      : data.faults.findLast((f) => f.from < here) ?? data.faults[data.faults.length - 1];
    span = Math.max((next.to - next.from) * 3, shortest);
    from = next.from - span / 3;
    point(next.from);
  }
  const actions = { in: () => zoom(.5), out: () => zoom(2), left: () => pan(-.25), right: () => pan(.25), all: whole, next: () => fault(1), previous: () => fault(-1) };
  for (const button of document.querySelectorAll('button[data-do]')) button.addEventListener('click', actions[button.dataset.do]);
  const keys = { '+': actions.in, '=': actions.in, '-': actions.out, '0': whole, n: actions.next, p: actions.previous };
  chart.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (way && event.shiftKey) pan(way * .25);
    else if (way) {
      point((cursor ?? from + span / 2) + way * Math.max(data.binMs, span / 200));
      if (cursor < from || cursor > from + span) { from = cursor - span / 2; draw(); }
    } else if (keys[event.key]) keys[event.key]();
    else return;
    event.preventDefault();
  });
  const at = (event) => {
    const box = chart.getBoundingClientRect();
    return from + Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1) * span;
  };
  let began = null;
  chart.addEventListener('pointerdown', (event) => { if (event.pointerType === 'mouse' && event.button === 0) began = at(event); else point(at(event)); });
  chart.addEventListener('pointermove', (event) => {
    if (event.pointerType !== 'mouse') return;
    point(at(event));
    if (began === null) return;
    const [low, high] = [began, cursor].sort((a, b) => a - b);
    selection.hidden = false;
    selection.style.left = `${(low - from) / span * 100}%`;
    selection.style.width = `${(high - low) / span * 100}%`;
    event.preventDefault();
  });
  addEventListener('pointerup', (event) => {
    if (began === null) return;
    const ended = at(event);
    selection.hidden = true;
    if (Math.abs(ended - began) > span / 100) { from = Math.min(began, ended); span = Math.abs(ended - began); draw(); }
    began = null;
  });
  chart.addEventListener('wheel', (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    zoom(event.deltaY > 0 ? 1.25 : .8, at(event));
  }, { passive: false });
  addEventListener('resize', draw);
  draw();
})();
