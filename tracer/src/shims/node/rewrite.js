// Puts a hook behind every assignment to a watched name, and behind every assignment to an element.
//
// A name is watched where it is assigned from an expression that calls `watch(…)`; a hidden variable stands beside it in
// the same scope. Text is only put in, never moved to another line, so that line numbers stay.

class Scope {
  constructor(kind, node, parent, name) {
    Object.assign(this, { kind, node, parent, name, names: new Set(), watched: new Set() });
    this.strict = parent ? parent.strict : false;
  }

  /** The scope that declares a name; the outermost one where none does. */
  owner(name) {
    for (let scope = this; scope; scope = scope.parent) {
      if (scope.names.has(name) || !scope.parent) return scope;
    }
  }

  /** Where `var` and functions go. */
  get home() {
    return this.kind === "block" ? this.parent.home : this;
  }
}

const isFunction = (node) => /Function/.test(node.type);
const hidden = (name) => `__tickfs_${name}`;

function children(node) {
  const found = [];
  for (const [key, value] of Object.entries(node)) {
    if (key === "type" || key === "loc") continue;
    for (const part of Array.isArray(value) ? value : [value]) {
      if (part && typeof part.type === "string") found.push(part);
    }
  }
  return found.sort((a, b) => a.start - b.start);
}

function namesIn(pattern, found = []) {
  if (!pattern) return found;
  if (pattern.type === "Identifier") found.push(pattern.name);
  else if (pattern.type === "ArrayPattern") pattern.elements.forEach((part) => namesIn(part, found));
  else if (pattern.type === "ObjectPattern") pattern.properties.forEach((part) => namesIn(part.value ?? part.argument, found));
  else if (pattern.type === "AssignmentPattern") namesIn(pattern.left, found);
  else if (pattern.type === "RestElement") namesIn(pattern.argument, found);
  return found;
}

function callsWatch(node) {
  if (!node || isFunction(node)) return false;
  if (node.type === "CallExpression" && node.callee.name === "watch") return true;
  return children(node).some(callsWatch);
}

/** Finds the scopes and what they declare, which names are watched, and what is said of `main`. */
function survey(tree) {
  const scopes = new Map();
  const found = { scopes, ownWatch: false, callsMain: false, hasMain: false };
  const assigned = [];

  function enter(kind, node, scope, name) {
    const made = new Scope(kind, node, scope, name);
    const body = node.type === "Program" ? node.body : node.body?.body;
    made.strict ||= node.type === "ClassBody" || (Array.isArray(body) && body.some((part) => part.directive === "use strict"));
    scopes.set(node, made);
    return made;
  }

  function visit(node, scope, name) {
    if (isFunction(node)) {
      const own = node.id?.name ?? name;
      if (node.type === "FunctionDeclaration") scope.home.names.add(own);
      const inner = enter("function", node, scope, own ?? "<anonymous>");
      node.params.flatMap((part) => namesIn(part)).forEach((param) => inner.names.add(param));
      node.params.forEach((part) => visit(part, inner));
      return node.body.type === "BlockStatement" ? node.body.body.forEach((part) => visit(part, inner)) : visit(node.body, inner);
    }
    let inner = scope;
    if (node.type === "BlockStatement" || node.type === "ClassBody") inner = enter("block", node, scope, scope.name);
    if (/^For|^Switch/.test(node.type)) inner = enter("block", node, scope, scope.name);
    if (node.type === "ClassDeclaration") scope.names.add(node.id.name);
    if (node.type === "CatchClause" && node.param) {
      inner = enter("block", node, scope, scope.name);
      namesIn(node.param).forEach((part) => inner.names.add(part));
    }
    if (node.type === "VariableDeclaration") {
      const to = node.kind === "var" ? scope.home : scope;
      for (const { id, init } of node.declarations) {
        namesIn(id).forEach((part) => to.names.add(part));
        if (callsWatch(init)) assigned.push([scope, namesIn(id)]);
      }
    }
    if (node.type === "AssignmentExpression") {
      if (callsWatch(node.right)) assigned.push([scope, namesIn(node.left)]);
      const left = node.left.type === "MemberExpression" && node.left;
      const exported = left && (left.object.name === "exports" || left.object.property?.name === "exports");
      found.hasMain ||= exported && left.property.name === "main";
      const whole = left && left.object.name === "module" && left.property.name === "exports";
      found.hasMain ||= whole && (node.right.properties ?? []).some((part) => (part.key?.name ?? part.key?.value) === "main");
      found.hasMain ||= whole && node.right.type !== "ObjectExpression";
    }
    if (node.type === "CallExpression" && node.callee.name === "main") found.callsMain ||= scope.home.kind === "program";
    const named = node.type === "MethodDefinition" || node.type === "Property" ? node.key.name : node.id?.name;
    children(node).forEach((part) => visit(part, inner, named));
  }

  const program = enter("program", tree, null, "<module>");
  tree.body.forEach((part) => visit(part, program));
  found.hasMain ||= program.names.has("main");
  found.ownWatch = [...scopes.values()].some((scope) => scope.names.has("watch"));
  if (!found.ownWatch) {
    for (const [scope, names] of assigned) names.forEach((name) => scope.owner(name).watched.add(name));
  }
  return found;
}

/** The source with its hooks. `newSite(function, line)` numbers a place. */
function rewritten(source, tree, found, newSite) {
  const opens = new Map();
  const closes = new Map();
  const gaps = [];
  const put = (map, at, text) => map.set(at, (map.get(at) ?? "") + text);

  const site = (node, scope) => newSite(scope.name, node.loc.start.line);
  const watched = (scope, name) => scope.owner(name).watched.has(name);
  const store = (node, scope, name) => `__tickfs.store(${hidden(name)},${site(node, scope)},${name})`;
  const isLocal = (scope, name) => scope.owner(name).home.kind === "function";

  /** Wraps a value on its way into a name. */
  function value(node, scope, name, visit) {
    const calls = callsWatch(node);
    const take = `(${hidden(name)}=__tickfs.take(${hidden(name)},${site(node, scope)},${isLocal(scope, name)},`;
    put(opens, node.start, calls ? take : `__tickfs.store(${hidden(name)},${site(node, scope)},`);
    visit();
    put(closes, node.end, calls ? "),__tickfs.held)" : ")");
  }

  /** The expression, then hooks for what it has bound; its own value stays what it was. */
  function followed(node, scope, names, visit) {
    put(opens, node.start, "__tickfs.first(");
    visit();
    put(closes, node.end, names.map((name) => "," + store(node, scope, name)).join("") + ")");
  }

  function element(node, scope, visit) {
    const { object, property } = node.left;
    const before = source.slice(object.end, property.start);
    const after = source.slice(property.end, node.right.start);
    const plain = !/\/[/*]/.test(before + after) && object.type !== "Super" && property.type !== "SequenceExpression";
    if (!plain) return visit();
    put(opens, node.start, `__tickfs.${scope.strict ? "setStrictly" : "set"}(${site(node, scope)},`);
    gaps.push([object.end, property.start, before.replace("[", ",")]);
    gaps.push([property.end, node.right.start, after.replace(/\](\s*)=/, ",$1")]);
    visit();
    put(closes, node.end, ")");
  }

  /** An element was changed in another way: its object is looked at, where naming it again does nothing else. */
  function looked(node, scope, object, visit) {
    if (!/^[\w$.]+$/.test(source.slice(object.start, object.end))) return visit();
    put(opens, node.start, "__tickfs.first(");
    visit();
    put(closes, node.end, `,__tickfs.look(${site(node, scope)},${source.slice(object.start, object.end)}))`);
  }

  function walk(node, outer) {
    const scope = found.scopes.get(node) ?? outer;
    const inside = () => children(node).forEach((part) => walk(part, scope));
    if (node.type === "BlockStatement" || isFunction(node) || node.type === "Program") declare(node, scope);
    if (node.type === "VariableDeclarator" && node.init) {
      if (node.id.type === "Identifier" && watched(scope, node.id.name)) {
        return value(node.init, scope, node.id.name, inside);
      }
      const names = namesIn(node.id).filter((name) => watched(scope, name));
      inside();
      for (const name of names) {
        const take = `__tickfs.take(${hidden(name)},${site(node, scope)},${isLocal(scope, name)},${name})`;
        put(closes, node.end, `,${hidden(name)}_=(${hidden(name)}=${take})`);
      }
      return undefined;
    }
    if (node.type === "AssignmentExpression") {
      const { left, operator, right } = node;
      if (left.type === "Identifier" && watched(scope, left.name)) {
        return operator === "=" ? value(right, scope, left.name, inside) : followed(node, scope, [left.name], inside);
      }
      const names = namesIn(left).filter((name) => watched(scope, name));
      if (names.length) return followed(node, scope, names, inside);
      if (left.type === "MemberExpression" && left.computed) {
        return operator === "=" ? element(node, scope, inside) : looked(node, scope, left.object, inside);
      }
    }
    if (node.type === "UpdateExpression") {
      const { argument } = node;
      if (argument.type === "Identifier" && watched(scope, argument.name)) return followed(node, scope, [argument.name], inside);
      if (argument.type === "MemberExpression" && argument.computed) return looked(node, scope, argument.object, inside);
    }
    if (/^For(Of|In)Statement$/.test(node.type)) {
      const pattern = node.left.type === "VariableDeclaration" ? node.left.declarations[0].id : node.left;
      const names = namesIn(pattern).filter((name) => watched(scope, name));
      const hooks = names.map((name) => store(node, scope, name) + ";").join("");
      if (hooks && node.body.type === "BlockStatement") put(opens, node.body.start + 1, hooks);
      else if (hooks) {
        put(opens, node.body.start, `{${hooks}`);
        inside();
        return put(closes, node.body.end, "}");
      }
    }
    return inside();
  }

  function declare(node, scope) {
    if (node.type === "BlockStatement" && !found.scopes.has(node)) return;
    const names = [...scope.watched];
    const body = isFunction(node) ? node.body : node;
    if (!names.length || (isFunction(node) && body.type !== "BlockStatement")) return;
    const directives = (body.body ?? []).filter((part) => part.directive);
    const at = directives.length ? directives.at(-1).end : node.type === "Program" ? node.body[0].start : body.start + 1;
    put(opens, at, `${directives.length ? ";" : ""}let ${names.map(hidden).join(",")};`);
  }

  walk(tree, null);
  let made = "";
  let at = 0;
  const places = new Set([...opens.keys(), ...closes.keys()]);
  const replaced = new Map(gaps.map(([start, end, text]) => [start, [end, text]]));
  for (const place of [...new Set([...places, ...replaced.keys()])].sort((a, b) => a - b)) {
    if (place < at) continue;
    made += source.slice(at, place) + (closes.get(place) ?? "") + (opens.get(place) ?? "");
    at = place;
    if (replaced.has(place)) {
      const [end, text] = replaced.get(place);
      made += text;
      at = end;
    }
  }
  return made + source.slice(at);
}
