"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const classes = data.labels.length;
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const truth = bytes(data.true), said = bytes(data.predicted);
  const packed = new DataView(bytes(data.probabilities).buffer);
  const votes = data.votes && bytes(data.votes);
  const maps = data.cam && bytes(data.cam.maps);
  const probability = (face, label) => packed.getUint16(2 * (face * classes + label), true) / 10000;
  const percent = (value) => (100 * value).toFixed(1) + "%";
  const confidence = (face) => probability(face, said[face]);

  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };

  // Pictures: a face is a part of one sheet, a map a few numbers that the browser enlarges.
  const picture = (face, scale, what) => {
    const side = data.side, canvas = make("canvas", { width: side * scale, height: side * scale });
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", what);
    const pen = canvas.getContext("2d");
    pen.imageSmoothingEnabled = false;
    const left = (face % data.sheetColumns) * side, top = Math.floor(face / data.sheetColumns) * side;
    pen.drawImage($("sheet"), left, top, side, side, 0, 0, canvas.width, canvas.height);
    return canvas;
  };
  // Each place of a map is centred on its receptive field; beyond the outer centres, the outer places go on.
  const beyond = data.cam && Math.ceil(data.side / data.cam.step);
  const within = (place, places) => Math.min(Math.max(place - beyond, 0), places - 1);
  const heat = (face) => {
    const { height, width } = data.cam;
    const small = make("canvas", { width: width + 2 * beyond, height: height + 2 * beyond });
    const pen = small.getContext("2d"), pixels = pen.createImageData(small.width, small.height);
    for (let y = 0; y < small.height; y++) {
      for (let x = 0; x < small.width; x++) {
        const value = maps[(face * height + within(y, height)) * width + within(x, width)];
        pixels.data.set([255, 96, 0, 0.72 * value], 4 * (y * small.width + x));
      }
    }
    pen.putImageData(pixels, 0, 0);
    return small;
  };
  const overlaid = (face) => {
    const canvas = picture(face, 4, "Grad-CAM: what spoke for " + data.labels[said[face]]);
    const pen = canvas.getContext("2d");
    pen.imageSmoothingEnabled = true;
    pen.imageSmoothingQuality = "high";
    const map = heat(face), pixel = canvas.width / data.side, { start, step } = data.cam;
    const corner = (start + 0.5 - (beyond + 0.5) * step) * pixel;
    pen.drawImage(map, corner, corner, map.width * step * pixel, map.height * step * pixel);
    return canvas;
  };

  const bars = (face) => make("ul", {}, ...data.labels.map((name, label) => {
    const fill = make("i");
    fill.style.cssText = `width: ${100 * probability(face, label)}%; background: ${data.colors[label]}`;
    const track = make("span", { className: "track" }, fill);
    return make("li", { className: label === truth[face] ? "true" : "" },
      make("span", { textContent: name }), track, make("span", { textContent: percent(probability(face, label)) }));
  }));
  const crowd = (face) => {
    if (!votes) return "no FER+ votes in these data";
    const cast = data.voteNames.map((name, k) => [votes[face * data.voteNames.length + k], name]).filter(([n]) => n);
    cast.sort((a, b) => b[0] - a[0]);
    return cast.length ? "FER+: " + cast.map(([n, name]) => `${n} ${name === "nf" ? "not a face" : name}`).join(", ") : "no FER+ votes";
  };
  const card = (face) => {
    const pictures = make("div", { className: "pictures" }, picture(face, 4, `face in row ${data.rows[face]}`));
    if (maps) pictures.append(overlaid(face));
    const line = make("p", {}, "true ", make("strong", { textContent: data.labels[truth[face]] }), ", predicted ",
      make("strong", { textContent: data.labels[said[face]] }));
    return make("article", { className: "face" }, pictures, line, bars(face), make("p", { className: "votes", textContent: `row ${data.rows[face].toLocaleString("en")} · ${crowd(face)}` }));
  };

  // One face in a dialog, with its neighbours in the list that it was opened from.
  let list = [], place = 0;
  const open = (faces, at) => {
    list = faces;
    place = at;
    $("face-title").textContent = `Face ${at + 1} of ${faces.length}`;
    $("face-card").replaceChildren(card(faces[at]));
    $("face-before").disabled = at === 0;
    $("face-after").disabled = at === faces.length - 1;
    if (!$("face").open) $("face").showModal();
  };
  const step = (by) => { if (list[place + by] !== undefined) open(list, place + by); };
  $("face-close").onclick = () => $("face").close();
  $("face-before").onclick = () => step(-1);
  $("face-after").onclick = () => step(1);
  $("face").onclick = (event) => { if (event.target === $("face")) $("face").close(); };
  $("face").onkeydown = (event) => {
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  };

  // A cell of the confusion matrix.
  const AT_ONCE = 60;
  const buttons = [...document.querySelectorAll(".cell")];
  let faces = [], drawn = 0;
  const more = () => {
    for (const end = Math.min(drawn + AT_ONCE, faces.length); drawn < end; drawn++) {
      const face = faces[drawn], at = drawn, shown = faces;
      const button = make("button", { type: "button", className: "thumb" }, picture(face, 1, ""));
      button.setAttribute("aria-label", `row ${data.rows[face]}, ${data.labels[said[face]]} ${percent(confidence(face))}`);
      button.title = percent(confidence(face));
      button.onclick = () => open(shown, at);
      $("cell-faces").append(button);
    }
    $("cell-more").hidden = drawn >= faces.length;
    $("cell-more").textContent = `Show more (${(faces.length - drawn).toLocaleString("en")} left)`;
  };
  const choose = (button) => {
    const row = Number(button.dataset.true), column = Number(button.dataset.predicted);
    const count = Number(button.querySelector("b").textContent);
    buttons.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
    faces = [...truth.keys()].filter((face) => truth[face] === row && said[face] === column);
    faces.sort((a, b) => confidence(b) - confidence(a));
    drawn = 0;
    $("cell-title").textContent = `True ${data.labels[row]}, predicted ${data.labels[column]}: ${count.toLocaleString("en")} ${count === 1 ? "face" : "faces"}`;
    $("cell-note").textContent = (faces.length < count ? `${faces.length.toLocaleString("en")} of them are in this page. ` : "") + "Most confident first; choose a face for its bars, votes and Grad-CAM.";
    $("cell-faces").replaceChildren();
    $("cell").hidden = false;
    more();
  };
  $("cell-more").onclick = () => {
    const first = drawn;
    more();
    $("cell-faces").children[first].focus();
  };
  buttons.forEach((button) => {
    button.onclick = () => {
      choose(button);
      $("cell-title").focus({ preventScroll: true });
      $("cell").scrollIntoView({ block: "nearest" });
    };
  });

  // Cards: the ones of a list, and those of a confused pair once it is opened.
  const fill = (box, numbers) => { if (!box.children.length) box.append(...numbers.map(card)); };
  const pairs = data.pairs.map((pair, number) => {
    const box = make("div", { className: "cards" });
    const title = `${data.labels[pair.true]} taken for ${data.labels[pair.predicted]}: ${pair.count.toLocaleString("en")}`;
    const details = make("details", {}, make("summary", { textContent: title }), box);
    details.ontoggle = () => { if (details.open) fill(box, pair.faces); };
    details.open = number === 0;
    return details;
  });

  // The theme: the system's, or the reader's own choice, kept where the browser lets a file keep something.
  const themes = ["auto", "light", "dark"];
  const kept = (value) => {
    try {
      if (value !== undefined) localStorage.setItem("mien-theme", value);
      return localStorage.getItem("mien-theme");
    } catch {
      return null;
    }
  };
  const dress = (theme) => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    $("theme").textContent = `Theme: ${theme}`;
  };
  let theme = themes.includes(kept()) ? kept() : "auto";
  dress(theme);
  $("theme").hidden = false;
  $("theme").onclick = () => {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length];
    dress(theme);
    kept(theme);
  };

  $("sheet").decode().then(() => {
    document.querySelectorAll("[data-faces]").forEach((box) => fill(box, data[box.dataset.faces]));
    $("pairs").append(...pairs);
    const first = data.pairs[0];
    const start = buttons.find((button) => first && Number(button.dataset.true) === first.true && Number(button.dataset.predicted) === first.predicted);
    if (start || buttons.find((button) => !button.disabled)) choose(start || buttons.find((button) => !button.disabled));
    window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((details) => {
      details.open = true;
      details.ontoggle?.();
    }));
    document.documentElement.dataset.ready = "yes";
  });
})();
