/* The tables of clips. Whatever was recognised or typed becomes text here, never markup. */
(() => {
  "use strict";

  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const { say, folder, lang } = read("phrases");

  function element(name, properties = {}, ...children) {
    const node = Object.assign(document.createElement(name), properties);
    node.append(...children);
    return node;
  }

  function speech(pieces) {
    const node = element("span", { className: "speech", dir: "auto" });
    if (lang) node.lang = lang;
    pieces.forEach(([mark, words]) => {
      if (mark === "other") node.append(element("mark", { title: say.other }, words));
      else if (mark === "missing") node.append(element("del", { title: say.missing }, words));
      else node.append(words);
    });
    return node;
  }

  // The file has more than the clip, which the fragment behind "#" names.
  function aroundButton(player, clip) {
    const button = element("button", { type: "button", className: "around" }, say.around);
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => {
      const whole = button.getAttribute("aria-pressed") === "false";
      button.setAttribute("aria-pressed", String(whole));
      player.src = whole ? clip.split("#")[0] : clip;
      player.play();
    });
    return button;
  }

  const show = {
    number(cell, column) {
      return cell === null ? [] : [cell.toFixed(column.digits)];
    },
    text(cell) {
      return cell === "" ? [] : [element("bdi", {}, cell)];
    },
    clip([uid, file]) {
      const nodes = [element("bdi", { className: "uid" }, uid)];
      if (file) {
        const player = element("audio", { controls: true, preload: "none" });
        player.src = `${folder}/${file}`;
        player.setAttribute("aria-label", `${say.play} ${uid}`);
        nodes.push(player);
        if (file.includes("#")) nodes.push(aroundButton(player, `${folder}/${file}`));
      }
      return nodes;
    },
    texts(cell) {
      if (!cell.length) return [];
      const items = cell.map(([label, pieces]) => {
        const item = element("li");
        if (label) item.append(element("span", { className: "label" }, label));
        item.append(speech(pieces));
        return item;
      });
      return [element("ol", {}, ...items)];
    },
  };

  const words = {
    number: (cell) => (cell === null ? "" : String(cell)),
    text: (cell) => cell,
    clip: ([uid]) => uid,
    texts: (cell) =>
      cell.map(([, pieces]) => pieces.filter(([mark]) => mark !== "missing")
        .map(([, text]) => text).join("")).join(" "),
  };

  // DataTables decodes entities of what it searches by making elements of it.
  const escaped = (text) =>
    text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

  function render(cell, kind, column) {
    if (kind === "display") return "";
    if (column.kind === "number") return cell === null ? -Infinity : cell;
    const text = words[column.kind](cell);
    return kind === "filter" ? escaped(text) : text.toLocaleLowerCase();
  }

  function labelled(text, control) {
    return element("label", {}, element("span", {}, text), control);
  }

  function valueFilter(table, data, place) {
    const column = data.columns[place];
    const values = [...new Set(data.rows.map((row) => row[place]))].sort();
    const choice = element("select", {}, new Option(say.all, ""));
    values.forEach((value, number) => choice.append(new Option(value || "–", number + 1)));
    choice.addEventListener("change", () => {
      const wanted = values[choice.value - 1];
      const fits = (_, row) => row[place] === wanted;
      table.column(place).search(choice.value === "" ? "" : fits).draw();
    });
    return labelled(column.label, choice);
  }

  // Where rows are cards, their columns' heads cannot be seen.
  function sorter(table, data) {
    const choice = element("select");
    data.columns.forEach((column, place) => {
      for (const direction of ["asc", "desc"]) {
        const text = direction === "asc" ? say.ascending : say.descending;
        choice.append(new Option(`${column.label} – ${text}`, `${place} ${direction}`));
      }
    });
    choice.addEventListener("change", () => {
      const [place, direction] = choice.value.split(" ");
      table.order([Number(place), direction]).draw();
    });
    table.on("order", () => {
      const [first] = table.order();
      if (first) choice.value = `${first[0]} ${first[1]}`;
    });
    return labelled(say.sort, choice);
  }

  function fill(box) {
    const data = read(`data-${box.dataset.source}`);
    const table = new DataTable(box.querySelector("table"), {
      data: data.rows,
      columns: data.columns.map((column, place) => ({
        data: null,
        type: column.kind === "number" ? "num" : "string",
        className: column.kind,
        orderSequence: ["asc", "desc"],
        render: (row, kind) => render(row[place], kind, column),
        createdCell(cell, _, row) {
          const nodes = show[column.kind](row[place], column);
          cell.replaceChildren(...nodes);
          cell.setAttribute("data-label", column.label);
          if (!nodes.length) cell.classList.add("empty");
        },
      })),
      autoWidth: false,
      deferRender: true,
      order: [],
      pageLength: 25,
      lengthMenu: [10, 25, 100, 500],
      language: say.table,
      layout: {
        topStart: "search", topEnd: "pageLength", bottomStart: "info", bottomEnd: "paging",
      },
    });
    const filters = box.querySelector(".filters");
    data.columns.forEach((column, place) => {
      if (column.filter) filters.append(valueFilter(table, data, place));
    });
    filters.append(sorter(table, data));
    let page;
    window.addEventListener("beforeprint", () => {
      page = [table.page.len(), table.page()];
      table.page.len(-1).draw(false);
    });
    window.addEventListener("afterprint", () => {
      table.page.len(page[0]).draw(false);
      table.page(page[1]).draw(false);
    });
  }

  document.querySelectorAll(".records").forEach(fill);

  // One at a time.
  document.addEventListener("play", (event) => {
    document.querySelectorAll("audio").forEach((player) => {
      if (player !== event.target) player.pause();
    });
  }, true);
  window.addEventListener("beforeprint", () => {
    document.querySelectorAll("details").forEach((node) => { node.open = true; });
  });
})();
