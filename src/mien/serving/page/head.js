// Light or dark: as the system wishes until the button is pressed; the browser remembers the choice.
const KEY = "mien-theme";
const button = element.querySelector("[data-theme-switch]");
const remembered = () => {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
};
const apply = (dark) => {
  document.body.classList.toggle("dark", dark);
  button.textContent = dark ? "Light theme" : "Dark theme";
};
apply(remembered() ? remembered() === "dark" : document.body.classList.contains("dark"));
button.addEventListener("click", () => {
  const dark = !document.body.classList.contains("dark");
  apply(dark);
  try {
    localStorage.setItem(KEY, dark ? "dark" : "light");
  } catch {
    // Without storage the choice lasts as long as the page.
  }
});
