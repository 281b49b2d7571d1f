# JSON in; out, one line for each scalar: its path, a tab, its value. Escapes other than \" and \\
# become a space; that is enough for names and keys.
{ text = text $0 "\n" }
END {
  depth = 0
  while (match(text, /^[ \t\r\n]*("([^"\\]|\\.)*"|[][{},:]|[^][{},: \t\r\n"]+)/)) {
    token = substr(text, 1, RLENGTH)
    text = substr(text, RLENGTH + 1)
    sub(/^[ \t\r\n]+/, "", token)
    if (token == "{" || token == "[") {
      depth++; is_list[depth] = (token == "["); count[depth] = 0; key[depth] = is_list[depth] ? 0 : ""
      expect_key = !is_list[depth]
    } else if (token == "}" || token == "]") {
      depth--; expect_key = 0
    } else if (token == ",") {
      if (is_list[depth]) key[depth] = ++count[depth]
      expect_key = !is_list[depth]
    } else if (token == ":") {
      expect_key = 0
    } else {
      if (token ~ /^"/) token = unquote(token)
      if (expect_key) key[depth] = token
      else print path() "\t" token
    }
  }
}
function unquote(quoted) {
  quoted = substr(quoted, 2, length(quoted) - 2)
  gsub(/\\"/, "\"", quoted); gsub(/\\\\/, "\001", quoted)
  gsub(/\\u....|\\./, " ", quoted); gsub(/\001/, "\\", quoted)
  return quoted
}
function path(  level, joined) {
  joined = key[1]
  for (level = 2; level <= depth; level++) joined = joined "." key[level]
  return joined
}
