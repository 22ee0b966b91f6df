// Buttons inside of this element carry a message; the focus stays on the pressed one when the element is drawn again.
let key = null;
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-send]");
  if (!button || button.disabled) return;
  key = button.dataset.key;
  trigger("select", JSON.parse(button.dataset.send));
});
watch("value", () => {
  const here = element.contains(document.activeElement) || document.activeElement === document.body;
  const again = key === null ? null : element.querySelector(`button[data-key="${key}"]`);
  if (here && again && !again.disabled) again.focus({ preventScroll: true });
});
