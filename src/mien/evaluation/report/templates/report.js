"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const classes = data.labels.length;
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const truth = bytes(data.true), predicted = bytes(data.predicted);
  const packed = new DataView(bytes(data.probabilities).buffer);
  const votes = data.votes && bytes(data.votes);
  const maps = data.cam && bytes(data.cam.maps);
  const probability = (face, label) => packed.getUint16(2 * (face * classes + label), true) / 10000;
  const percent = (value) => (100 * value).toFixed(1) + "%";
  const confidence = (face) => probability(face, predicted[face]);

  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };

  // A face is a cell of the sprite sheet; a heat map is a small array that the browser enlarges.
  const image = (face, scale, label) => {
    const side = data.side, canvas = make("canvas", { width: side * scale, height: side * scale });
    if (label) {
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", label);
    } else canvas.setAttribute("aria-hidden", "true");  // its button is labelled
    const pen = canvas.getContext("2d");
    pen.imageSmoothingEnabled = false;
    const left = (face % data.spriteColumns) * side, top = Math.floor(face / data.spriteColumns) * side;
    pen.drawImage($("sprite"), left, top, side, side, 0, 0, canvas.width, canvas.height);
    return canvas;
  };
  // Each value of a map is centred on its receptive field; the edge values are repeated outwards.
  const beyond = data.cam && Math.ceil(data.side / data.cam.step);
  const within = (index, length) => Math.min(Math.max(index - beyond, 0), length - 1);
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
    const canvas = image(face, 4, "Grad-CAM heat map for " + data.labels[predicted[face]]);
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
    const images = make("div", { className: "images" }, image(face, 4, `face in row ${data.rows[face]}`));
    if (maps) images.append(overlaid(face));
    const line = make("p", {}, "true ", make("strong", { textContent: data.labels[truth[face]] }), ", predicted ",
      make("strong", { textContent: data.labels[predicted[face]] }));
    return make("article", { className: "face" }, images, line, bars(face), make("p", { className: "votes", textContent: `row ${data.rows[face].toLocaleString("en")} · ${crowd(face)}` }));
  };

  // One face in a dialog, with its neighbours in the list that it was opened from.
  let list = [], position = 0;
  const open = (faces, at) => {
    list = faces;
    position = at;
    $("face-title").textContent = `Face ${at + 1} of ${faces.length}`;
    $("face-card").replaceChildren(card(faces[at]));
    $("face-before").disabled = at === 0;
    $("face-after").disabled = at === faces.length - 1;
    if (!$("face").open) $("face").showModal();
  };
  const step = (by) => { if (list[position + by] !== undefined) open(list, position + by); };
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
      const button = make("button", { type: "button", className: "thumb" }, image(face, 1, ""));
      button.setAttribute("aria-label", `row ${data.rows[face]}, ${data.labels[predicted[face]]} ${percent(confidence(face))}`);
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
    faces = [...truth.keys()].filter((face) => truth[face] === row && predicted[face] === column);
    faces.sort((a, b) => confidence(b) - confidence(a));
    drawn = 0;
    $("cell-title").textContent = `True ${data.labels[row]}, predicted ${data.labels[column]}: ${count.toLocaleString("en")} ${count === 1 ? "face" : "faces"}`;
    $("cell-note").textContent = (faces.length < count ? `${faces.length.toLocaleString("en")} of them are in this file. ` : "") + "Most confident first; select a face for its probabilities, votes and Grad-CAM.";
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

  // Cards are drawn when what folds them is opened.
  const fill = (box, numbers) => { if (!box.children.length) box.append(...numbers.map(card)); };
  const pairs = data.pairs.map((pair, number) => {
    const box = make("div", { className: "cards" });
    const title = `true ${data.labels[pair.true]}, predicted ${data.labels[pair.predicted]}: ${pair.count.toLocaleString("en")}`;
    const details = make("details", {}, make("summary", { textContent: title }), box);
    details.ontoggle = () => { if (details.open) fill(box, pair.faces); };
    details.open = number === 0;
    return details;
  });
  document.querySelectorAll("section > details").forEach((details) => {
    details.ontoggle = () => {
      if (details.open) details.querySelectorAll("[data-faces]").forEach((box) => fill(box, data[box.dataset.faces]));
    };
  });

  // A link to a section opens it.
  const reveal = (hash) => {
    const section = $(hash.slice(1)), details = section?.querySelector(":scope > details");
    if (details) details.open = true;
    section?.scrollIntoView();
  };
  window.onhashchange = () => reveal(location.hash);
  document.querySelectorAll("nav a").forEach((link) => {
    link.onclick = (event) => {
      if (location.protocol === "about:") event.preventDefault();  // in the page's frame a fragment would load the page itself
      reveal(link.hash);
    };
  });

  // The theme: the system's, or the reader's choice, stored where the browser allows it.
  const themes = ["auto", "light", "dark"];
  const stored = (value) => {
    try {
      if (value !== undefined) localStorage.setItem("mien-theme", value);
      return localStorage.getItem("mien-theme");
    } catch {
      return null;
    }
  };
  const apply = (theme) => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    $("theme").textContent = `Theme: ${theme}`;
  };
  let theme = themes.includes(stored()) ? stored() : "auto";
  apply(theme);
  $("theme").hidden = false;
  $("theme").onclick = () => {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length];
    apply(theme);
    stored(theme);
  };

  $("sprite").decode().then(() => {
    $("pairs").append(...pairs);
    const first = data.pairs[0];
    const start = buttons.find((button) => first && Number(button.dataset.true) === first.true && Number(button.dataset.predicted) === first.predicted);
    if (start || buttons.find((button) => !button.disabled)) choose(start || buttons.find((button) => !button.disabled));
    window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((details) => {
      details.open = true;
      details.ontoggle?.();
    }));
    reveal(location.hash);
    document.documentElement.dataset.ready = "yes";
  });
})();
