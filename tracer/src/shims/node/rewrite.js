// Puts a hook behind every assignment to a watched name, and behind every assignment to an element or a property.
//
// A name is watched where it is assigned from an expression that calls `watch(…)`; a hidden variable stands beside it in
// the same scope. Which property of which object is watched is known when the program runs: any may be. Text is only put
// in, never moved to another line, so that line numbers stay.

class Scope {
  constructor(kind, node, parent, name) {
    Object.assign(this, { kind, node, parent, name, names: new Set(), watched: new Set(), declared: new Set() });
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
/** Whether a hidden variable can stand in this scope. */
const hasPlace = (node) => /^Program$|^BlockStatement$/.test(node.type) || (isFunction(node) && node.body.type === "BlockStatement");

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

/** The members of objects that a pattern assigns to. */
function membersIn(pattern) {
  if (!pattern || isFunction(pattern)) return [];
  if (pattern.type === "MemberExpression") return [pattern];
  return /Pattern$|^Property$|^RestElement$/.test(pattern.type) ? children(pattern).flatMap(membersIn) : [];
}

/** Whether this name, if it is one, may be assigned here. */
function assigns(node, name) {
  if (!name || isFunction(node)) return false;
  const targets = [node.left, node.argument].filter((part) => part && /^Assign|^Update/.test(node.type));
  return targets.some((part) => namesIn(part).includes(name)) || children(node).some((part) => assigns(part, name));
}

/** How code calls `watch`: by its bare name, or by what it has made of the module `tickfs`. */
function watchers(tree) {
  const names = new Set(["watch"]);
  const modules = new Set();
  const imported = new Set();
  const take = (name, of) => {
    imported.add(of);
    (name === "watch" ? names : modules).add(of);
  };
  for (const node of tree.body) {
    if (node.type === "ImportDeclaration" && node.source.value === "tickfs") {
      for (const part of node.specifiers) take(part.imported?.name, part.local.name);
    }
    for (const { id, init } of node.type === "VariableDeclaration" ? node.declarations : []) {
      if (init?.callee?.name !== "require" || init.arguments[0]?.value !== "tickfs") continue;
      if (id.type === "Identifier") take(null, id.name);
      for (const part of id.properties ?? []) if (part.value?.type === "Identifier") take(part.key.name, part.value.name);
    }
  }
  const isWatch = ({ name, type, object, property }) =>
    names.has(name) || (type === "MemberExpression" && modules.has(object.name) && property.name === "watch");
  const calls = (node) => {
    if (!node || isFunction(node)) return false;
    return (node.type === "CallExpression" && isWatch(node.callee)) || children(node).some(calls);
  };
  return { calls, imported };
}

/** The names that a declaration declares. */
function namesOf(declaration) {
  if (!declaration) return [];
  return declaration.id ? [declaration.id.name] : (declaration.declarations ?? []).flatMap(({ id }) => namesIn(id));
}

/** Finds the scopes and what they declare, which names are watched, and what is said of `main`. */
function survey(tree, declared) {
  const scopes = new Map();
  const { calls: callsWatch, imported } = watchers(tree);
  const found = { scopes, callsWatch, ownWatch: false, hasMain: false };
  const assigned = [];
  const isModule = tree.sourceType === "module";

  function enter(kind, node, scope, name) {
    const made = new Scope(kind, node, scope, name);
    const body = node.type === "Program" ? node.body : node.body?.body;
    made.strict ||= isModule || node.type === "ClassBody" || (Array.isArray(body) && body.some((part) => part.directive === "use strict"));
    scopes.set(node, made);
    return made;
  }

  function visit(node, scope, name) {
    if (isFunction(node)) {
      const own = node.id?.name ?? name;
      if (node.type === "FunctionDeclaration" && node.id) scope.home.names.add(own);
      const inner = enter("function", node, scope, own ?? "<anonymous>");
      node.params.flatMap((part) => namesIn(part)).forEach((param) => inner.names.add(param));
      node.params.forEach((part) => visit(part, inner));
      return node.body.type === "BlockStatement" ? node.body.body.forEach((part) => visit(part, inner)) : visit(node.body, inner);
    }
    let inner = scope;
    if (node.type === "BlockStatement" || node.type === "ClassBody") inner = enter("block", node, scope, scope.name);
    if (/^For|^Switch/.test(node.type)) inner = enter("block", node, scope, scope.name);
    if (node.type === "ClassDeclaration" && node.id) scope.names.add(node.id.name);
    if (/^Import.*Specifier$/.test(node.type)) scope.names.add(node.local.name);
    if (/^ExportNamed/.test(node.type)) {
      found.hasMain ||= node.specifiers.some((part) => part.exported.name === "main");
      found.hasMain ||= namesOf(node.declaration).includes("main");
    }
    // What a module exports of another one is known when it runs.
    found.hasMain ||= node.type === "ExportAllDeclaration";
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
    // What a function without a name is called: by what it is assigned to.
    const named = (node.key ?? node.id ?? node.left?.property ?? node.left)?.name;
    children(node).forEach((part) => visit(part, inner, named));
  }

  const program = enter("program", tree, null, "<module>");
  tree.body.forEach((part) => visit(part, program));
  found.hasMain ||= program.names.has("main");
  found.ownWatch = [...scopes.values()].some((scope) => scope.names.has("watch") && !(scope === program && imported.has("watch")));
  if (!found.ownWatch) {
    for (const [scope, names] of assigned) names.forEach((name) => scope.owner(name).watched.add(name));
    for (const scope of scopes.values()) {
      const kinds = [scope.home.kind === "program" ? "global" : "local", "both", null];
      const named = [...scope.names].filter((name) => Object.hasOwn(declared, name) && kinds.includes(declared[name]));
      named.forEach((name) => scope.watched.add(name) && scope.declared.add(name));
      if (!hasPlace(scope.node)) scope.watched.clear();
    }
  }
  return found;
}

/** The source with its hooks. `newSite(function, line)` numbers a place; `instead` is imported for `tickfs`, if not null. */
function rewritten(source, tree, found, newSite, instead) {
  const opens = new Map();
  const closes = new Map();
  const gaps = [];
  const put = (map, at, text) => map.set(at, (map.get(at) ?? "") + text);

  const site = (node, scope) => newSite(scope.name, node.loc.start.line);
  const watched = (scope, name) => scope.owner(name).watched.has(name);
  const store = (node, scope, name) => `__tickfs.store(${hidden(name)},${site(node, scope)},${name})`;
  const isLocal = (scope, name) => scope.owner(name).home.kind === "function";
  const callsWatch = (node) => !found.ownWatch && found.callsWatch(node);
  const text = (node) => source.slice(node.start, node.end);
  /** The key of a member, as code; what is not known without doing something again is undefined. */
  const keyOf = ({ property, computed }) => {
    if (computed) return /^(Identifier|Literal)$/.test(property.type) ? text(property) : "undefined";
    return JSON.stringify((property.type === "PrivateIdentifier" ? "#" : "") + (property.name ?? property.value));
  };
  const isSimple = (object) => object.type === "ThisExpression" || object.type === "Identifier";

  /** Wraps a value on its way into a name. */
  function value(node, scope, name, visit) {
    const declared = scope.owner(name).declared.has(name);
    const calls = declared || callsWatch(node);
    const take = `(${hidden(name)}=__tickfs.take(${hidden(name)},${site(node, scope)},${isLocal(scope, name)},`;
    // Several expressions with commas are one value: what is put in comes within their parentheses.
    const several = node.type === "SequenceExpression";
    put(opens, node.start, (calls ? take : `__tickfs.store(${hidden(name)},${site(node, scope)},`) + (several ? "(" : ""));
    visit();
    if (several) put(closes, node.end, ")");
    put(closes, node.end, calls ? `${declared ? "," + JSON.stringify(name) : ""}),__tickfs.held)` : ")");
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
    const hook = callsWatch(node.right) ? "setTaken" : "set";
    put(opens, node.start, `__tickfs.${hook}${scope.strict ? "Strictly" : ""}(${site(node, scope)},`);
    gaps.push([object.end, property.start, before.replace("[", ",")]);
    gaps.push([property.end, node.right.start, after.replace(/\](\s*)=/, ",$1")]);
    visit();
    put(closes, node.end, ")");
  }

  /** `object.name = value`, whose object is the same afterwards. */
  function isPlainMember({ type, operator, left, right }) {
    if (type !== "AssignmentExpression" || operator !== "=" || left.type !== "MemberExpression" || left.computed) return false;
    return isSimple(left.object) && !callsWatch(right) && !assigns(right, left.object.name);
  }

  /** A property is assigned; what it is afterwards is looked at only where it is watched. */
  function member(node, scope, visit) {
    const { object, property } = node.left;
    const hook = callsWatch(node.right) ? "take" : "tell";
    if (isSimple(object)) {
      put(opens, node.start, `__tickfs.${hook}Member(${site(node, scope)},${text(object)},${keyOf(node.left)},`);
      visit();
      return put(closes, node.end, ")");
    }
    const before = source.slice(object.end, property.start);
    const after = source.slice(property.end, node.right.start);
    if (object.type === "Super" || property.type === "PrivateIdentifier" || /\/[/*]/.test(before + after)) return visit();
    const set = hook === "take" ? "setTaken" : "set";
    put(opens, node.start, `__tickfs.${set}${scope.strict ? "Strictly" : ""}(${site(node, scope)},`);
    gaps.push([object.end, property.start, before.replace(".", ",") + '"']);
    gaps.push([property.end, node.right.start, '"' + after.replace("=", ",")]);
    visit();
    return put(closes, node.end, ")");
  }

  /** Members were changed in another way: those whose naming does nothing else are looked at. */
  function looked(node, scope, members, visit) {
    const named = (part) => part.object.type !== "Super" && /^[\w$.]+$/.test(text(part.object));
    const looks = members.filter(named).map((part) => {
      const read = part.property.type === "PrivateIdentifier" ? `,()=>${text(part)}` : "";
      return `,__tickfs.look(${site(node, scope)},${text(part.object)},${keyOf(part)}${read})`;
    });
    if (!looks.length) return visit();
    // The handler of raw writes is told where it is, as late as can be.
    const value = node.right;
    put(opens, node.start, value ? "__tickfs.first(" : `__tickfs.second(__tickfs.at(${site(node, scope)}),`);
    const several = value?.type === "SequenceExpression";
    if (value) put(opens, value.start, `__tickfs.at(${site(node, scope)},${several ? "(" : ""}`);
    visit();
    if (value) put(closes, value.end, several ? "))" : ")");
    return put(closes, node.end, looks.join("") + ")");
  }

  /** Memory that this expression makes, and what it may be made from; `null` where it may be somebody else's. */
  function makes(node, scope) {
    const own = (name) => scope.owner(name).names.has(name);
    if (node?.type === "CallExpression" && node.callee.type === "MemberExpression" && !node.callee.computed) {
      const made = `${node.callee.object.name}.${node.callee.property.name}`;
      return /^(Buffer\.alloc|\w+Array\.(from|of))$/.test(made) && !own(node.callee.object.name) ? "0" : null;
    }
    if (node?.type !== "NewExpression" || !/^(\w+Array|ArrayBuffer|DataView)$/.test(node.callee.name) || own(node.callee.name)) return null;
    const [from, ...more] = node.arguments;
    if (more.length || from?.type === "SpreadElement") return null;
    if (from?.type === "Identifier") return from.name;
    if (!from || /^(Literal|ArrayExpression|BinaryExpression|UnaryExpression)$/.test(from.type)) return "0";
    return makes(from, scope);
  }

  function walk(node, outer) {
    const scope = found.scopes.get(node) ?? outer;
    const inside = (of = node) => children(of).forEach((part) => walk(part, scope));
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
    if (node.type === "ExpressionStatement" && isPlainMember(node.expression)) {
      // Nothing stands before it, so that an error in it shows the line and the column of the program.
      const { left } = node.expression;
      const read = left.property.type === "PrivateIdentifier" ? `,()=>${text(left)}` : "";
      inside(node.expression);
      return put(closes, node.expression.end, `,__tickfs.look(${site(node, scope)},${text(left.object)},${keyOf(left)}${read})`);
    }
    if (node.type === "AssignmentExpression") {
      const { left, operator, right } = node;
      if (left.type === "Identifier" && watched(scope, left.name)) {
        return operator === "=" ? value(right, scope, left.name, inside) : followed(node, scope, [left.name], inside);
      }
      const names = namesIn(left).filter((name) => watched(scope, name));
      if (names.length) return followed(node, scope, names, () => looked(node, scope, membersIn(left), inside));
      if (left.type === "MemberExpression" && operator === "=") {
        return left.computed ? element(node, scope, inside) : member(node, scope, inside);
      }
      return looked(node, scope, membersIn(left), inside);
    }
    if (instead && node.source?.value === "tickfs") gaps.push([node.source.start, node.source.end, JSON.stringify(instead)]);
    if (node.type === "PropertyDefinition" && !node.computed && callsWatch(node.value)) {
      put(opens, node.value.start, `__tickfs.takeMember(${site(node, scope)},this,${keyOf({ property: node.key })},`);
      inside();
      return put(closes, node.value.end, ")");
    }
    if (node.type === "ObjectExpression") {
      const held = node.properties.filter((part) => part.kind === "init" && !part.computed && callsWatch(part.value));
      if (held.length) {
        const keys = held.map(({ key }) => JSON.stringify(String(key.name ?? key.value)));
        put(opens, node.start, "__tickfs.takeMembers(");
        inside();
        return put(closes, node.end, `,[${keys}])`);
      }
    }
    if (node.type === "CallExpression" && node.callee.name === "watch" && node.arguments.length && !found.ownWatch) {
      const [memory] = node.arguments;
      const from = makes(memory, scope);
      if (from !== null) {
        put(opens, memory.start, "__tickfs.made(");
        inside();
        return put(closes, memory.end, `,${from})`);
      }
    }
    if (node.type === "UpdateExpression") {
      const { argument } = node;
      if (argument.type === "Identifier" && watched(scope, argument.name)) return followed(node, scope, [argument.name], inside);
      return looked(node, scope, membersIn(argument), inside);
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
    const body = isFunction(node) ? node.body : node;
    const isMain = isFunction(node) && scope.name === "main" && scope.parent.home.kind === "program";
    const first = isMain ? ["__tickfs.entered=true;"] : [];
    if (scope.watched.size) first.push(`let ${[...scope.watched].map(hidden).join(",")};`);
    if (!first.length) return;
    if (!hasPlace(node)) {
      put(opens, body.start, "(__tickfs.entered=true,");
      return void put(closes, body.end, ")");
    }
    const directives = (body.body ?? []).filter((part) => part.directive);
    const at = directives.length ? directives.at(-1).end : node.type === "Program" ? node.body[0].start : body.start + 1;
    put(opens, at, (directives.length ? ";" : "") + first.join(""));
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
