# Puts a hook behind every assignment to a watched name.
#
# A name is watched where it is assigned from an expression that calls `watch(…)`. Names of modules and classes have a slot
# in the agent; a name of a function has a hidden variable beside it, `.w.NAME`, one per activation, so that recursion is right.
# An attribute that is assigned from such an expression belongs to its object, which tells of it from then on.
import ast
import copy

STORE, BIND, LOCAL, TAKE, DECLARED, SECOND, GONE, ENTERED, ATTRIBUTE, TOLD, CLASS = HOOKS = [
    f"__tickfs_{name}__"
    for name in ("store", "bind", "local", "take", "declared", "second", "gone", "entered", "attribute", "told", "class")
]
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


class Scope:
    def __init__(self, kind, node, parent, name):
        self.kind, self.node, self.parent, self.name = kind, node, parent, name
        self.globals, self.nonlocals, self.bound, self.watched = set(), set(), set(), {}
        self.declared = set()  # watched without a call of `watch`

    def owner(self, name):
        """The scope that a name assigned here belongs to."""
        scope = self
        while scope.kind == "comprehension":
            scope = scope.parent
        if name in scope.globals:
            while scope.parent:
                scope = scope.parent
            return scope
        if name in scope.nonlocals:
            above = scope.parent
            while above and not (above.kind == "function" and name in above.bound - above.nonlocals):
                above = above.parent
            return above or scope
        return scope

    def qualified(self, name):
        return name if self.name == "<module>" else f"{self.name}.{name}"


class Survey(ast.NodeVisitor):
    """Finds the scopes, what they bind, and which names are watched."""

    def __init__(self, tree, declared):
        self.scopes, self.scope, self.own_watch, self.calls_main = {}, None, False, False
        self.attributes = set()  # names of attributes that are watched, of whatever object
        self.watchers, self.modules = {"watch"}, set()
        self.find_watchers(tree)
        self.enter("module", tree, "<module>", tree.body)
        for node, scope, names in list(self.found):
            for name in names:
                scope.owner(name).watched.setdefault(name, None)
        for scope in self.scopes.values():
            kinds = {"module": ("global", "both", None), "function": ("local", "both", None)}.get(scope.kind, ())
            bound = scope.bound - scope.globals - scope.nonlocals
            if scope.kind == "module":
                bound = bound.union(*(other.globals for other in self.scopes.values()))
            scope.declared = {name for name in bound if name in declared and declared[name] in kinds}
            scope.watched.update(dict.fromkeys(scope.declared - set(scope.watched)))

    found = ()

    def find_watchers(self, tree):
        """How this file calls `watch`: by its bare name, or by what it has made of the module `tickfs`."""
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module == "tickfs" and not node.level:
                self.watchers.update(alias.asname or alias.name for alias in node.names if alias.name == "watch")
            elif isinstance(node, ast.Import):
                self.modules.update(alias.asname or alias.name for alias in node.names if alias.name == "tickfs")

    def calls_watch(self, node):
        return any(isinstance(part, ast.Call) and self.is_watch(part.func) for part in ast.walk(node))

    def is_watch(self, called):
        if isinstance(called, ast.Attribute):
            return called.attr == "watch" and isinstance(called.value, ast.Name) and called.value.id in self.modules
        return isinstance(called, ast.Name) and called.id in self.watchers

    def enter(self, kind, node, name, body):
        outer = self.scope
        self.found = self.found or []
        self.scope = self.scopes[node] = Scope(kind, node, outer, name)
        for part in body:
            self.visit(part)
        self.scope = outer

    def function(self, node):
        name = getattr(node, "name", "<lambda>")
        if name != "<lambda>":
            self.bind(name)
        arguments = node.args
        for part in getattr(node, "decorator_list", []) + arguments.defaults + [d for d in arguments.kw_defaults if d]:
            self.visit(part)
        self.enter("function", node, self.scope.qualified(name), node.body if isinstance(node.body, list) else [node.body])
        self.scopes[node].bound.update(arguments_of(node))

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = function

    def visit_ClassDef(self, node):
        self.bind(node.name)
        for part in node.decorator_list + node.bases + node.keywords:
            self.visit(part)
        self.enter("class", node, self.scope.qualified(node.name), node.body)

    def comprehension(self, node):
        parts = [node.elt] if hasattr(node, "elt") else [node.key, node.value]
        self.enter("comprehension", node, self.scope.name, node.generators + parts)

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = comprehension

    def bind(self, name):
        scope = self.scope
        while scope.kind == "comprehension":
            scope = scope.parent
        scope.bound.add(name)
        self.own_watch |= name == "watch"

    def visit_Name(self, node):
        if isinstance(node.ctx, ast.Store) and self.scope.kind != "comprehension":
            self.bind(node.id)

    def visit_Call(self, node):
        scope = self.scope
        while scope and scope.kind in ("comprehension", "class"):
            scope = scope.parent
        self.calls_main |= scope.kind == "module" and isinstance(node.func, ast.Name) and node.func.id == "main"
        self.generic_visit(node)

    def visit_Global(self, node):
        self.scope.globals.update(node.names)

    def visit_Nonlocal(self, node):
        self.scope.nonlocals.update(node.names)

    def aliases(self, node):
        own = self.own_watch
        for alias in node.names:
            self.bind(alias.asname or alias.name.split(".")[0])
        if getattr(node, "module", None) == "tickfs":
            self.own_watch = own

    visit_Import = visit_ImportFrom = aliases

    def assigned(self, node):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if node.value is not None and self.calls_watch(node.value):
            names = [name for target in targets for name in names_in(target)]
            self.found.append((node, self.scope, names))
            self.attributes.update(names if self.scope.kind == "class" else ())
            self.attributes.update(part.attr for target in targets for part in attributes_in(target))
        if isinstance(node, ast.NamedExpr):
            self.bind(node.target.id)
        self.generic_visit(node)

    visit_Assign = visit_AnnAssign = visit_NamedExpr = visit_AugAssign = assigned


def arguments_of(function):
    arguments = function.args
    named = arguments.posonlyargs + arguments.args + arguments.kwonlyargs
    return [argument.arg for argument in named + [arguments.vararg, arguments.kwarg] if argument]


def parts_of(target):
    """What a target assigns to, in order."""
    if isinstance(target, ast.Starred):
        return parts_of(target.value)
    if isinstance(target, (ast.Tuple, ast.List)):
        return [found for part in target.elts for found in parts_of(part)]
    return [target]


def names_in(target):
    return [part.id for part in parts_of(target) if isinstance(part, ast.Name)]


def attributes_in(target):
    """The attributes of objects whose naming again does nothing else."""
    return [part for part in parts_of(target) if isinstance(part, ast.Attribute) and is_path(part.value)]


def is_path(node):
    return isinstance(node, ast.Name) or isinstance(node, ast.Attribute) and is_path(node.value)


class Rewriter(ast.NodeTransformer):
    def __init__(self, survey, new_slot, new_site):
        self.survey, self.new_slot, self.new_site = survey, new_slot, new_site
        self.scope = None

    # What is known of a name

    def slot(self, name):
        """A slot's number for a name of a module or a class, the hidden name for one of a function, else None."""
        owner = self.scope.owner(name)
        if name not in owner.watched:
            return None
        if owner.watched[name] is None:
            owner.watched[name] = f".w.{name}" if owner.kind == "function" else self.new_slot()
        return owner.watched[name]

    def is_watched(self, name):
        return name in self.scope.owner(name).watched

    def site(self, node):
        return self.new_site(self.scope.name, node.lineno)

    # What is put in

    def call(self, node, function, *arguments):
        made = ast.Call(ast.Name(function, ast.Load()), list(arguments), [])
        return ast.fix_missing_locations(ast.copy_location(made, node))

    def hooked(self, node, name, value, calls=False):
        """The value of an assignment to a name, on its way through the hook."""
        slot, declared = self.slot(name), self.declared(name)
        if isinstance(slot, str):
            handle = ast.Name(slot, ast.Load())
            if declared:
                handle = ast.NamedExpr(ast.Name(slot, ast.Store()), self.call(node, DECLARED, handle, *declared))
            return self.call(node, LOCAL, handle, ast.Constant(self.site(node)), value)
        hook = BIND if calls or declared else STORE
        return self.call(node, hook, ast.Constant(key_of(slot, self.site(node))), value, *declared)

    def declared(self, name):
        """What a hook is told of a name that is watched without a call of `watch`."""
        return [ast.Constant(name)] if name in self.scope.owner(name).declared else []

    def told(self, node, targets, calls=False):
        """Statements that follow one that has assigned to these targets."""
        made = self.after(node, [name for target in targets for name in names_in(target)], calls)
        for part in [part for target in targets for part in attributes_in(target)][:: -1 if calls else 1]:
            if part.attr not in self.survey.attributes or self.survey.own_watch:
                continue
            holder = copy.deepcopy(part.value)
            for inner in ast.walk(holder):
                inner.ctx = ast.Load()
            name = ast.Constant(self.mangled(part.attr))
            hook = self.call(node, ATTRIBUTE if calls else TOLD, ast.Constant(self.site(node)), holder, name)
            made.append(ast.copy_location(ast.Expr(hook), node))
        return made

    def mangled(self, name):
        scope = self.scope
        while scope and scope.kind != "class":
            scope = scope.parent
        private = scope and name.startswith("__") and not name.endswith("__")
        return f"_{scope.node.name.lstrip('_')}{name}" if private else name

    def after(self, node, names, calls=False):
        """Statements that follow one that has bound these names."""
        made = []
        # What `watch` has made last is claimed first.
        for name in names[:: -1 if calls else 1]:
            if not self.is_watched(name):
                continue
            slot = self.slot(name)
            target, value = ast.Name(name, ast.Store()), ast.Name(name, ast.Load())
            if calls and isinstance(slot, str):
                target = ast.Name(slot, ast.Store())
                hook = self.call(node, TAKE, ast.Name(slot, ast.Load()), ast.Constant(self.site(node)), value)
            else:
                hook = self.hooked(node, name, value, calls)
            made.append(ast.fix_missing_locations(ast.copy_location(ast.Assign([target], hook), node)))
        return made

    # Scopes

    def within(self, node, visit):
        outer, self.scope = self.scope, self.survey.scopes[node]
        result = visit(node)
        self.scope = outer
        return result

    def visit_Module(self, node):
        return self.within(node, self.generic_visit)

    def visit_Lambda(self, node):
        return self.within(node, self.generic_visit)

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = visit_Lambda

    def definition(self, node):
        outer = self.scope
        is_main = node.name == "main" and outer.kind == "module" and not isinstance(node, ast.ClassDef)
        for field in ("decorator_list", "bases", "keywords"):
            for place, part in enumerate(getattr(node, field, [])):
                getattr(node, field)[place] = self.visit(part)
        if not isinstance(node, ast.ClassDef):
            self.visit(node.args)
        self.scope = self.survey.scopes[node]
        body = []
        for statement in node.body:
            made = self.visit(statement)
            body.extend(made if isinstance(made, list) else [made])
        hidden = [slot for slot in self.scope.watched.values() if isinstance(slot, str)]
        first = [ast.Assign([ast.Name(name, ast.Store())], ast.Constant(None)) for name in hidden]
        if not isinstance(node, ast.ClassDef):
            first += self.after(node, [name for name in arguments_of(node) if self.declared(name)])
        if is_main:
            first.append(ast.Expr(ast.Call(ast.Name(ENTERED, ast.Load()), [], [])))
        start = 1 if is_docstring(body[0]) else 0
        at = body[min(start, len(body) - 1)]
        body[start:start] = [ast.fix_missing_locations(ast.copy_location(made, at)) for made in first]
        node.body = body
        held = self.scope.watched if isinstance(node, ast.ClassDef) else {}
        self.scope = outer
        made = [node]
        if held:
            slots = [ast.Tuple([ast.Constant(name), ast.Constant(slot)], ast.Load()) for name, slot in held.items()]
            hook = self.call(node, CLASS, ast.Name(node.name, ast.Load()), *slots)
            made.append(ast.copy_location(ast.Expr(hook), node))
        return made + self.after(node, [node.name])

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = definition

    def visit_Nonlocal(self, node):
        hidden = [self.slot(name) for name in node.names if self.is_watched(name)]
        node.names += [name for name in hidden if isinstance(name, str)]
        return node

    # Assignments

    def visit_Assign(self, node):
        calls = self.survey.calls_watch(node.value)
        self.generic_visit(node)
        target = node.targets[0]
        single = len(node.targets) == 1 and isinstance(target, ast.Name) and self.is_watched(target.id)
        if single and not (calls and isinstance(self.slot(target.id), str)):
            node.value = self.hooked(node, target.id, node.value, calls)
            return node
        return [node] + self.told(node, node.targets, calls)

    def visit_AnnAssign(self, node):
        if node.value is None:
            return node
        calls = self.survey.calls_watch(node.value)
        self.generic_visit(node)
        target = node.target
        if isinstance(target, ast.Name) and self.is_watched(target.id) and not calls:
            node.value = self.hooked(node, target.id, node.value)
            return node
        return [node] + self.told(node, [target], calls)

    def visit_AugAssign(self, node):
        self.generic_visit(node)
        return [node] + self.told(node, [node.target])

    def visit_NamedExpr(self, node):
        calls = self.survey.calls_watch(node.value)
        self.generic_visit(node)
        name = node.target.id
        if not self.is_watched(name):
            return node
        slot = self.slot(name)
        if not (calls and isinstance(slot, str)):
            node.value = self.hooked(node, name, node.value, calls)
            return node
        taken = self.call(node, TAKE, ast.Name(slot, ast.Load()), ast.Constant(self.site(node)), node)
        hidden = ast.NamedExpr(ast.Name(slot, ast.Store()), taken)
        return self.call(node, SECOND, hidden, ast.Name(name, ast.Load()))

    def visit_Delete(self, node):
        self.generic_visit(node)
        return [node] + self.gone(node, [name for target in node.targets for name in names_in(target)])

    def gone(self, node, names):
        made = []
        for name in names:
            if not self.is_watched(name):
                continue
            slot = self.slot(name)
            handle = ast.Name(slot, ast.Load()) if isinstance(slot, str) else ast.Constant(None)
            number = ast.Constant(0 if isinstance(slot, str) else slot)
            gone = self.call(node, GONE, handle, number, ast.Constant(self.site(node)))
            made.append(ast.copy_location(ast.Expr(gone), node))
        return made

    def imported(self, node):
        return [node] + self.after(node, [alias.asname or alias.name.split(".")[0] for alias in node.names])

    visit_Import = visit_ImportFrom = imported

    # What binds at the beginning of a body

    def loop(self, node):
        self.generic_visit(node)
        node.body[0:0] = self.told(node, [node.target])
        return node

    visit_For = visit_AsyncFor = loop

    def opened(self, node):
        self.generic_visit(node)
        node.body[0:0] = self.told(node, [item.optional_vars for item in node.items if item.optional_vars])
        return node

    visit_With = visit_AsyncWith = opened

    def visit_ExceptHandler(self, node):
        self.generic_visit(node)
        names = [node.name] if node.name and self.is_watched(node.name) else []
        if names:
            # Python deletes the name at the end of the handler.
            last = ast.copy_location(ast.Try(node.body, [], [], self.gone(node, names)), node.body[0])
            node.body = self.after(node, names) + [last]
        return node

    def visit_match_case(self, node):
        names = []
        for part in ast.walk(node.pattern):
            names += [name for name in (getattr(part, "name", None), getattr(part, "rest", None)) if isinstance(name, str)]
        self.generic_visit(node)
        node.body[0:0] = self.after(node.body[0], names)
        return node


def key_of(slot, site):
    """Both in one number; where both are small it is one digit of Python's own, which is read sooner."""
    return slot << 16 | site if slot < 1 << 14 and site < 1 << 16 else slot << 32 | site


def parts_of_key(key):
    return divmod(key, 1 << 16 if key < 1 << 30 else 1 << 32)


def is_docstring(statement):
    value = getattr(statement, "value", None)
    return isinstance(statement, ast.Expr) and isinstance(value, ast.Constant) and isinstance(value.value, str)


def rewrite(tree, declared, new_slot, new_site):
    """The tree with its hooks, and what the survey found. `declared`: what is watched without a call, and its scope."""
    survey = Survey(tree, declared)
    if survey.own_watch:
        return tree, survey
    for scope in survey.scopes.values():
        for name in scope.watched:
            if scope.kind == "function":
                scope.watched[name] = f".w.{name}"
    return Rewriter(survey, new_slot, new_site).visit(tree), survey
