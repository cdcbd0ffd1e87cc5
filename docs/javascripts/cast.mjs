// A player above the transcript of each recording. It is loaded when the first one comes into view.
// Without this script, or where the player cannot be loaded, the transcript is what there is.

const vendor = new URL("../vendor/asciinema-player/", import.meta.url);
let library;

function load() {
  library ??= new Promise((resolve, reject) => {
    const style = document.createElement("link");
    style.rel = "stylesheet";
    style.href = new URL("asciinema-player.css", vendor).href;
    const script = document.createElement("script");
    script.src = new URL("asciinema-player.min.js", vendor).href;
    script.onload = () => resolve(window.AsciinemaPlayer);
    script.onerror = () => reject(new Error(`cannot load ${script.src}`));
    document.head.append(style, script);
  });
  return library;
}

async function start(figure) {
  const screen = figure.querySelector(".cast-screen");
  let player;
  try {
    player = (await load()).create(new URL(`../casts/${figure.dataset.cast}.cast`, import.meta.url).href, screen, {
      cols: Number(figure.dataset.cols),
      rows: Number(figure.dataset.rows),
      fit: "width",
      poster: "npt:0:04",
      preload: true,
      terminalFontFamily: "var(--md-code-font-family)",
    });
  } catch (error) {
    console.error(error);
    prepare(figure, false);
    return;
  }
  screen.style.aspectRatio = "auto";
  for (const button of figure.querySelectorAll(".cast-chapters button")) {
    button.addEventListener("click", async () => {
      // In this order: to seek in a player that has not begun loses the lines before.
      await player.play();
      await player.seek(Number(button.dataset.at));
    });
  }
}

// On a phone the letters of a terminal are too small to read: the transcript stays open there.
const narrow = window.matchMedia("(max-width: 44.9375em)");

// The room is taken at once, so that nothing moves when the player comes.
function prepare(figure, plays) {
  figure.querySelector(".cast-screen").hidden = !plays;
  figure.querySelector(".cast-chapters").hidden = !plays;
  figure.querySelector("details").open = !plays || narrow.matches;
}

// A player cannot be printed.
window.addEventListener("beforeprint", () => {
  for (const text of document.querySelectorAll(".cast details")) text.open = true;
});

const seen = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) {
      if (isIntersecting) {
        seen.unobserve(target);
        start(target);
      }
    }
  },
  { rootMargin: "200px" },
);

function look() {
  for (const figure of document.querySelectorAll("figure.cast:has(.cast-screen):not([data-prepared])")) {
    figure.dataset.prepared = "";
    prepare(figure, true);
    seen.observe(figure);
  }
}

window.document$?.subscribe(look);
look();
