for (const stage of document.querySelectorAll(".stage")) {
  const range = document.getElementById(stage.dataset.range);
  const show = () => stage.style.setProperty("--at", range.value + "%");
  const drag = (event) => {
    const box = stage.getBoundingClientRect();
    range.value = 100 * (event.clientX - box.left) / box.width;
    show();
  };
  range.addEventListener("input", show);
  stage.addEventListener("pointerdown", (event) => {
    stage.setPointerCapture(event.pointerId);
    drag(event);
  });
  stage.addEventListener("pointermove", (event) => {
    if (event.buttons) drag(event);
  });
  show();
}
