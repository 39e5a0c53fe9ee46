// Tables that the page writes, as `vtm tag` writes them and `vtm apply` reads them.

const FORMULA = /^[=+\-@\t\r\n＝＋－＠]/; // what a spreadsheet would compute

// A text as a cell; a path goes on naming its file.
function cell(value, isPath = false) {
  const text = FORMULA.test(value) ? (isPath ? `./${value}` : `'${value}`) : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function download(name, columns, rows) {
  const lines = [columns, ...rows].map((values) => values.map((value, i) => cell(value, columns[i] === "picture")).join(","));
  // The mark tells Excel that it is UTF-8.
  const address = URL.createObjectURL(new Blob(["\ufeff", lines.join("\n"), "\n"], { type: "text/csv" }));
  const link = h("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

// An address's path as a file's name; bytes that are no UTF-8 as vtm writes them, \xff.
const decodePath = (path) =>
  path.replace(/(%[0-9A-F]{2})+/gi, (some) => {
    try {
      return decodeURIComponent(some);
    } catch {
      return some.replace(/%([0-9A-F]{2})/gi, (_, byte) => (parseInt(byte, 16) < 128 ? String.fromCharCode(parseInt(byte, 16)) : `\\x${byte.toLowerCase()}`));
    }
  });

// Where a picture lies, for `vtm apply`: of a page that is opened from disk in full, so that the table may lie anywhere;
// else as seen from the page's folder. Without its address, its id.
function pathOf(address, id) {
  if (!address) return id;
  if (location.protocol !== "file:") return decodePath(address);
  return decodePath(new URL(address, location.href).pathname).replace(/^\/([A-Za-z]:)/, "$1");
}
