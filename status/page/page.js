"use strict";
// Shows what /events sends. All texts come from the rings' users, so they only ever become text.
(() => {
  const points = 120;
  const rings = new Map(); // by name
  const state = document.getElementById("state");
  const template = document.getElementById("ring");
  const main = document.getElementById("rings");

  const short = (n) => {
    if (!Number.isFinite(n)) return "-";
    for (const [unit, size] of [["G", 1e9], ["M", 1e6], ["k", 1e3]]) if (n >= size) return (n / size).toPrecision(3) + unit;
    return n >= 10 || n === 0 ? n.toFixed(0) : n.toPrecision(2);
  };

  const draw = (svg, first, second, top) => {
    const most = top || Math.max(1, ...first, ...second);
    const line = (list) => list.map((v, i) =>
      `${(240 * (points - list.length + i) / (points - 1)).toFixed(1)},${(58 - 56 * Math.min(v / most, 1)).toFixed(1)}`).join(" ");
    svg.querySelector(".first").setAttribute("points", line(first));
    svg.querySelector(".second").setAttribute("points", line(second));
  };

  const make = (name) => {
    const node = template.content.firstElementChild.cloneNode(true);
    node.dataset.ring = name;
    node.querySelector(".name").textContent = name;
    return { node, past: { full: [], peak: [], sent: [], released: [], csleeps: [], psleeps: [] }, last: null };
  };

  const push = (list, v) => { list.push(v); if (list.length > points) list.shift(); };

  const element = (tag, text, kind) => {
    const e = document.createElement(tag);
    e.textContent = text;
    if (kind) e.className = kind;
    return e;
  };

  const verdict = (v) => {
    const li = element("li", `${v.code}: ${v.text} `, v.severity);
    if (v.next !== "nothing") li.append(element("em", `next: ${v.next}`));
    return li;
  };

  const peer = (p) => {
    const tr = document.createElement("tr");
    const moved = p.progress ? `has moved messages at ${p.progress.slice(11, 23)} or later` : "";
    for (const text of [p.role, `pid ${p.pid}`, p.label || "", p.life, p.process, moved]) tr.append(element("td", text));
    return tr;
  };

  const update = (ring, s) => {
    const text = (kind, value) => { ring.node.querySelector("." + kind).textContent = value; };
    ring.node.querySelector(".verdicts").replaceChildren(...s.verdicts.map(verdict));
    const r = s.ring;
    ring.node.querySelector(".charts").hidden = !r;
    if (!r) { ring.last = null; text("about", s.error || ""); return; }
    const slots = r.geometry.slots, q = r.queue, slot = q.lap / slots; // in positions
    text("about", `${r.kind}, ${slots} slots of ${r.geometry.slot_size} B, ${r.doorbell}`);
    ring.node.querySelector(".peers").replaceChildren(...r.peers.map(peer));
    const now = { at: Date.parse(s.time), uuid: s.file.uuid, sent: parseInt(q.end, 10) / slot, released: parseInt(q.read_pos, 10) / slot,
      csleeps: r.consumed.sleeps, psleeps: r.produced.sleeps };
    push(ring.past.full, q.fraction);
    push(ring.past.peak, r.produced.high_water_slots / slots);
    const was = ring.last, rate = {};
    for (const k of ["sent", "released", "csleeps", "psleeps"]) {
      rate[k] = was && was.uuid === now.uuid && now.at > was.at ? Math.max(0, 1000 * (now[k] - was[k]) / (now.at - was.at)) : NaN;
      if (Number.isFinite(rate[k])) push(ring.past[k], rate[k]);
      text(k, short(rate[k]));
    }
    ring.last = now;
    text("full", `${Math.round(100 * q.fraction)} %, at most ${Math.round(100 * r.produced.high_water_slots / slots)} %`);
    const waited = r.queueing ? `; measured messages waited ${short(r.queueing.sum_ns / r.queueing.count / 1000)} µs on average` : "";
    text("counted", `${short(r.consumed.messages)} messages, ${short(r.consumed.bytes)} B received; ${q.messages} wait; ` +
      `${r.produced.full} sends met a full ring, ${r.produced.dropped} messages dropped; ${r.events} events${waited}`);
    const [full, slotsChart, sleeps] = ring.node.querySelectorAll("svg");
    draw(full, ring.past.full, ring.past.peak, 1);
    draw(slotsChart, ring.past.sent, ring.past.released);
    draw(sleeps, ring.past.csleeps, ring.past.psleeps);
  };

  const source = new EventSource("events");
  let looks = 0;
  source.onmessage = (event) => {
    const list = JSON.parse(event.data);
    const names = new Set(list.map((s) => s.name));
    for (const [name, ring] of rings) if (!names.has(name)) { ring.node.remove(); rings.delete(name); }
    list.forEach((s, i) => {
      let ring = rings.get(s.name);
      if (!ring) { ring = make(s.name); rings.set(s.name, ring); }
      if (main.children[i] !== ring.node) main.insertBefore(ring.node, main.children[i] || null);
      update(ring, s);
    });
    looks++;
    document.body.dataset.looks = looks;
    state.textContent = `${list.length} rings, looked at ${new Date().toLocaleTimeString()}`;
  };
  source.addEventListener("trouble", (event) => { state.textContent = JSON.parse(event.data); });
  source.onerror = () => { state.textContent = "not connected"; };
})();
