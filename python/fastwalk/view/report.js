"use strict";
(() => {
  const ROW = 24, SPARE = 12;
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);

  // ---- Columns: little-endian arrays in base64 ----
  const bytes = (id) => {
    const text = atob($(id).textContent.trim());
    const out = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) out[i] = text.charCodeAt(i);
    return out.buffer;
  };
  const wide = (id) => { const words = new Uint32Array(bytes(id)); return {
    lo: (i) => words[2 * i], hi: (i) => words[2 * i + 1], count: words.length / 2 }; };
  const start = wide("start"), size = wide("size"), pa = wide("pa");
  const flags = new Uint32Array(bytes("flags")), region = new Int16Array(bytes("region"));
  const allowed = new Uint8Array(bytes("allowed")), depth = new Uint8Array(bytes("depth"));
  const kind = new Uint8Array(bytes("kind")), cls = new Uint8Array(bytes("class"));
  const count = start.count;

  const hex = (hi, lo, width) => {
    const text = (hi ? hi.toString(16) + lo.toString(16).padStart(8, "0") : lo.toString(16));
    return "0x" + text.padStart(width, "0");
  };
  const sizeOf = (i) => (size.hi(i) * 4294967296 + size.lo(i)) || 18446744073709551616;
  const lastOf = (i) => {  // the last address, as [hi, lo]
    let lo = start.lo(i) + size.lo(i) - 1, hi = start.hi(i) + size.hi(i);
    if (size.hi(i) === 0 && size.lo(i) === 0) return [0xffffffff, 0xffffffff];
    if (lo < 0) { lo += 4294967296; hi -= 1; }
    if (lo >= 4294967296) { lo -= 4294967296; hi += 1; }
    return [hi >>> 0, lo >>> 0];
  };
  const UNITS = ["B", "K", "M", "G", "T", "P", "E"];
  const sizeText = (value) => {
    let unit = 0;
    while (unit < 6 && value % 1024 === 0) { value /= 1024; unit++; }
    return value.toLocaleString("en") + " " + UNITS[unit];
  };
  const permissions = (value) => data.permissions
    .map(([bit, letters]) => (value & bit ? letters : "-".repeat(letters.length))).join("");
  const cells = (i) => {
    const [hi, lo] = lastOf(i), leaf = kind[i] === 0;
    return [
      hex(start.hi(i), start.lo(i), data.width) + " - " + hex(hi, lo, data.width),
      sizeText(sizeOf(i)), data.levels[depth[i]] ?? String(depth[i]),
      leaf && data.physical ? hex(pa.hi(i), pa.lo(i), 1) : "",
      leaf ? permissions(allowed[i]) : "", data.classes[cls[i]].name,
      region[i] < 0 ? "" : data.regions[region[i]].name || "(no name)", data.flags[flags[i]]];
  };

  // ---- Order and filter ----
  const by = (column) => (a, b) => column.hi(a) - column.hi(b) || column.lo(a) - column.lo(b);
  const rank = (texts) => {
    const order = texts.map((_, i) => i).sort((a, b) => (texts[a] < texts[b] ? -1 : 1));
    const places = new Array(texts.length);
    order.forEach((of, place) => { places[of] = place; });
    return places;
  };
  const flagRank = rank(data.flags), allowedRank = (i) => allowed[i];
  const ORDERS = {
    start: by(start), size: (a, b) => sizeOf(a) - sizeOf(b), level: (a, b) => depth[a] - depth[b],
    pa: by(pa), allowed: (a, b) => allowedRank(a) - allowedRank(b),
    class: (a, b) => cls[a] - cls[b], region: (a, b) => region[a] - region[b],
    flags: (a, b) => flagRank[flags[a]] - flagRank[flags[b]] };
  let sortKey = "start", descending = false, shown = new Uint32Array(0), found = -1;
  const wanted = data.classes.map(() => true);

  const address = (term) => {
    if (!/^(0x)?[0-9a-f]{4,16}$/.test(term)) return null;
    const digits = term.replace(/^0x/, "").padStart(16, "0");
    return [parseInt(digits.slice(0, 8), 16), parseInt(digits.slice(8), 16)];
  };
  const contains = (i, [hi, lo]) => {
    const [endHi, endLo] = lastOf(i);
    return (start.hi(i) < hi || (start.hi(i) === hi && start.lo(i) <= lo)) &&
      (endHi > hi || (endHi === hi && endLo >= lo));
  };
  const matchers = (text) => text.toLowerCase().split(/\s+/).filter(Boolean).map((term) => {
    const at = address(term), has = (name) => String(name).toLowerCase().includes(term);
    const inFlags = data.flags.map(has), inLevels = data.levels.map(has);
    const inRegions = data.regions.map((one) => has(one.name));
    const inClasses = data.classes.map((one) => has(one.name));
    const inAllowed = Array.from({ length: 256 }, (_, value) => has(permissions(value)));
    return (i) => (at !== null && contains(i, at)) || inFlags[flags[i]] || inLevels[depth[i]] ||
      inClasses[cls[i]] || (region[i] >= 0 && inRegions[region[i]]) ||
      (kind[i] === 0 && inAllowed[allowed[i]]);
  });
  const update = () => {
    const tests = matchers($("filter").value), only = $("only").value;
    const kept = [];
    for (let i = 0; i < count; i++) {
      if (!wanted[cls[i]] || (only !== "" && region[i] !== Number(only))) continue;
      if (tests.every((test) => test(i))) kept.push(i);
    }
    shown = Uint32Array.from(kept);
    const order = ORDERS[sortKey], sign = descending ? -1 : 1;
    if (sortKey !== "start" || descending) shown.sort((a, b) => sign * order(a, b) || a - b);
    let total = 0;
    for (const i of shown) if (kind[i] === 0) total += sizeOf(i);
    const n = (value) => value.toLocaleString("en");
    $("counted").textContent = `${n(shown.length)} of ${n(count)} rows, ${rough(total)} mapped`;
    $("body").scrollTop = 0;
    $("space").style.height = shown.length * ROW + "px";
    $("grid").setAttribute("aria-rowcount", String(shown.length));
    paintRows();
  };
  const rough = (value) => {
    let unit = 0;
    while (value >= 1024 && unit < 6) { value /= 1024; unit++; }
    return value.toFixed(unit && value < 10 ? 1 : 0) + " " + UNITS[unit] + (unit ? "iB" : "");
  };

  // ---- Rows: only those in sight exist ----
  const colors = () => data.classes.map((_, i) =>
    getComputedStyle(document.documentElement).getPropertyValue(`--class-${i}`).trim());
  let painted = colors();
  const paintRows = () => {
    const body = $("body"), first = Math.max(0, Math.floor(body.scrollTop / ROW) - SPARE);
    const last = Math.min(shown.length, Math.ceil((body.scrollTop + body.clientHeight) / ROW) + SPARE);
    const rows = [];
    for (let at = first; at < last; at++) {
      const i = shown[at], row = document.createElement("div");
      row.className = i === found ? "row found" : "row";
      row.setAttribute("role", "row");
      row.setAttribute("aria-rowindex", String(at + 1));
      row.style.top = at * ROW + "px";
      cells(i).forEach((text, column) => {
        const cell = document.createElement("span");
        cell.setAttribute("role", "cell");
        if (column !== 5 && column !== 6) cell.className = "mono";
        if (column === 5) {
          const swatch = document.createElement("span");
          swatch.className = "swatch";
          swatch.style.background = painted[cls[i]];
          cell.append(swatch, " ");
        }
        cell.append(text);
        cell.title = text;
        row.append(cell);
      });
      rows.push(row);
    }
    $("space").replaceChildren(...rows);
  };
  const goTo = (i) => {
    let at = shown.indexOf(i);
    if (at < 0) { $("filter").value = ""; $("only").value = ""; wanted.fill(true);
      document.querySelectorAll("[data-class]").forEach((box) => { box.checked = true; });
      update(); at = shown.indexOf(i); }
    found = i;
    $("body").scrollTop = Math.max(0, at * ROW - $("body").clientHeight / 2);
    paintRows();
  };

  // ---- The bar ----
  const words = (text) => { const d = text.slice(2).padStart(16, "0");
    return [parseInt(d.slice(0, 8), 16), parseInt(d.slice(8), 16)]; };
  const pieces = data.pieces.map(([first, last, begin, end, mapped, of]) =>
    ({ first: words(first), last: words(last), begin, end, mapped, of }));
  const after = (a, b) => a[0] - b[0] || a[1] - b[1];
  const minus = (a, b) => (a[0] - b[0]) * 4294967296 + (a[1] - b[1]);
  const pieceAt = (at) => {
    let low = 0, high = pieces.length - 1;
    while (low < high) { const mid = (low + high + 1) >> 1;
      if (after(pieces[mid].first, at) <= 0) low = mid; else high = mid - 1; }
    return pieces[low];
  };
  const place = (at, add) => {
    const p = pieceAt(at), whole = minus(p.last, p.first) + 1;
    return p.begin + (p.end - p.begin) * Math.min(1, (minus(at, p.first) + add) / whole);
  };
  const begins = new Float64Array(count), ends = new Float64Array(count);
  if (pieces.length) for (let i = 0; i < count; i++) {
    begins[i] = place([start.hi(i), start.lo(i)], 0);
    ends[i] = place(lastOf(i), 1);
  }
  let from = 0, to = 1;
  const canvas = $("bar"), lanes = data.classes.map((_, i) => i).filter((i) => cls.includes(i));
  const HEAD = 22;
  const paintBar = () => {
    const scale = window.devicePixelRatio || 1, w = canvas.clientWidth, h = canvas.clientHeight;
    canvas.width = w * scale; canvas.height = h * scale;
    const pen = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).trim();
    pen.scale(scale, scale);
    pen.fillStyle = color("--ground"); pen.fillRect(0, 0, w, h);
    const x = (at) => ((at - from) / (to - from)) * w;
    pen.font = "12px system-ui, sans-serif"; pen.textBaseline = "middle";
    data.places.forEach(([begin, end, of], n) => {
      const left = Math.max(0, x(begin)), right = Math.min(w, x(end));
      if (right <= left) return;
      if (n % 2 === 0) { pen.fillStyle = color("--raised"); pen.fillRect(left, 0, right - left, h); }
      const name = data.regions[of].name || "(no name)";
      let text = name;
      while (text && pen.measureText(text === name ? name : text + "\u2026").width > right - left - 8)
        text = text.slice(0, -1);
      pen.fillStyle = color("--text");
      if (text.length > 2) pen.fillText(text === name ? name : text + "\u2026", left + 4, HEAD / 2);
      pen.fillStyle = color("--line"); pen.fillRect(left, 0, 1, h);
    });
    const tall = (h - HEAD - 4) / Math.max(1, lanes.length);
    painted = colors();
    lanes.forEach((lane, n) => {
      const top = HEAD + n * tall;
      pen.fillStyle = painted[lane];
      let reached = -1;
      for (let i = 0; i < count; i++) {
        if (cls[i] !== lane || ends[i] < from || begins[i] > to) continue;
        const left = Math.max(0, x(begins[i])), right = Math.min(w, Math.max(x(ends[i]), left + 1.5));
        if (right <= reached) continue;
        pen.fillRect(left, top + 2, right - left, tall - 4);
        reached = right;
      }
    });
    const last = pieces.at(-1);
    $("shown-part").textContent = pieces.length
      ? addressAt(from, pieces.find((one) => from < one.end) ?? last) + " to " +
        addressAt(to, pieces.find((one) => to <= one.end) ?? last)
      : "nothing is mapped";
  };
  const addressAt = (at, p) => {
    const whole = minus(p.last, p.first) + 1;
    const share = Math.min(1, Math.max(0, (at - p.begin) / (p.end - p.begin)));
    const offset = Math.min(whole - 1, Math.floor(share * whole));
    let lo = p.first[1] + (offset % 4294967296), hi = p.first[0] + Math.floor(offset / 4294967296);
    if (lo >= 4294967296) { lo -= 4294967296; hi += 1; }
    return hex(hi, lo, data.width);
  };
  const zoomTo = (a, b) => {
    const room = Math.min(1, Math.max(b - a, 1e-11));
    from = Math.min(Math.max(0, a), 1 - room); to = from + room;
    paintBar();
  };
  const zoom = (factor, about = (from + to) / 2) =>
    zoomTo(about - (about - from) * factor, about + (to - about) * factor);
  const at = (event) => from + ((event.clientX - canvas.getBoundingClientRect().left) /
    canvas.clientWidth) * (to - from);
  const rowAt = (event) => {
    const where = at(event), slack = ((to - from) / canvas.clientWidth) * 2;
    const lane = lanes[Math.floor((event.offsetY - HEAD) / ((canvas.clientHeight - HEAD - 4) / lanes.length))];
    let best = -1;
    for (let i = 0; i < count; i++)
      if (begins[i] - slack <= where && where <= ends[i] + slack && cls[i] === lane &&
          (best < 0 || ends[i] - begins[i] < ends[best] - begins[best])) best = i;
    return best;
  };
  const zoomRegion = (of) => {
    const own = data.places.find(([, , one]) => one === of);
    if (own) zoomTo(own[0], own[1]);
    canvas.scrollIntoView({ block: "nearest" });
  };
  let held = null, moved = false, waiting = 0;
  const later = (work) => { cancelAnimationFrame(waiting); waiting = requestAnimationFrame(work); };
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault(); const factor = Math.exp(event.deltaY / 400), about = at(event);
    zoom(factor, about); }, { passive: false });
  canvas.addEventListener("pointerdown", (event) => {
    held = { x: event.clientX, from, to }; moved = false; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointermove", (event) => {
    if (held) {
      const by = ((held.x - event.clientX) / canvas.clientWidth) * (held.to - held.from);
      if (Math.abs(held.x - event.clientX) > 3) moved = true;
      if (moved) later(() => zoomTo(held ? held.from + by : from, held ? held.to + by : to));
      return;
    }
    const i = rowAt(event), p = pieces.find((one) => at(event) <= one.end);
    $("under").textContent = i >= 0 ? cells(i).filter(Boolean).join("   ")
      : p ? addressAt(at(event), p) + (p.mapped ? "" : "   a hole") : "";
  });
  canvas.addEventListener("pointerup", (event) => {
    held = null; if (moved) return;
    const i = rowAt(event); if (i >= 0) goTo(i); });

  // ---- What people press ----
  $("in").addEventListener("click", () => zoom(0.5));
  $("out").addEventListener("click", () => zoom(2));
  $("all").addEventListener("click", () => zoomTo(0, 1));
  let typing = 0;
  $("filter").addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(update, 120); });
  $("only").addEventListener("change", () => {
    update(); if ($("only").value !== "") zoomRegion(Number($("only").value)); });
  data.regions.forEach((one, i) => {
    if (!one.rows) return;
    const option = document.createElement("option");
    option.value = String(i); option.textContent = `${one.name || "(no name)"} (${one.rows})`;
    $("only").append(option); });
  document.querySelectorAll("[data-class]").forEach((box) => box.addEventListener("change", () => {
    wanted[Number(box.dataset.class)] = box.checked; update(); }));
  document.querySelectorAll("[data-region]").forEach((button) => button.addEventListener("click", () => {
    $("only").value = button.dataset.region; update(); zoomRegion(Number(button.dataset.region)); }));
  document.querySelectorAll("[data-address]").forEach((button) => button.addEventListener("click", () => {
    const where = words(button.dataset.address);
    for (let i = 0; i < count; i++) if (contains(i, where)) { goTo(i);
      $("grid").scrollIntoView({ block: "nearest" }); return; } }));
  const heads = document.querySelectorAll("#head button");
  heads.forEach((head) => head.addEventListener("click", () => {
    descending = sortKey === head.dataset.key ? !descending : false;
    sortKey = head.dataset.key;
    heads.forEach((one) => one.setAttribute("aria-sort",
      one === head ? (descending ? "descending" : "ascending") : "none"));
    update(); }));
  $("body").addEventListener("scroll", () => later(paintRows));
  addEventListener("resize", () => later(() => { paintBar(); paintRows(); }));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { paintBar(); paintRows(); });
  paintBar();
  update();
  document.documentElement.dataset.ready = "yes";
})();
