# Runs a processor, as `python3 -c`: one event a line on stdin, one answer a line on stdout.
def host():
    import importlib.util
    import json
    import os
    import sys
    import traceback

    path = sys.argv[1]
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    # What the processor prints is for people.
    sys.stdout = sys.stderr
    sys.argv[:] = [path]
    sys.path[0] = os.path.dirname(os.path.abspath(path))

    def say(answer):
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    try:
        spec = importlib.util.spec_from_file_location("processor", path)
        module = importlib.util.module_from_spec(spec)
        sys.modules["processor"] = module
        spec.loader.exec_module(module)
    except BaseException as error:
        traceback.print_exc()
        return say({"error": f"it cannot be loaded: {type(error).__name__}: {error}"})
    if not callable(getattr(module, "main", None)):
        return say({"error": "it defines no main(event)"})
    say({"ready": True})
    for line in sys.stdin:
        event = json.loads(line)
        try:
            answer = module.main(event)
            answer = {"action": "pass"} if answer is None else dict(answer)
            answer["event_id"] = event["event_id"]
            say(answer)
        except Exception as error:
            traceback.print_exc()
            say({"error": f"{type(error).__name__}: {error}", "event_id": event["event_id"]})


host()
