# Passes the output of `cargo test -- --show-output` through and ends it with one honest total.
#
# A test that printed a line `skipped: why` counts as skipped, not as passed; so does an ignored one. A test binary
# that did not compile, or died before its own result, counts as one failure.
{ print }
/^error: could not compile/     { failed++ }
/^running [0-9]+ tests?$/       { failed += running; running = 1; successes = 0 }
/^successes:$/                  { successes = 1 }
/^failures:$/                   { successes = 0 }
/^---- .* stdout ----$/         { counted = 0 }
/^skipped:/ && successes && !counted { skipped++; passed--; counted = 1 }
/^test result:/ {
  running = 0
  for (i = 2; i <= NF; i++) {
    if ($i ~ /^passed/) passed += $(i - 1)
    if ($i ~ /^failed/) failed += $(i - 1)
    if ($i ~ /^ignored/) skipped += $(i - 1)
  }
}
END { printf "\n%d passed, %d failed, %d skipped\n", passed, failed + running, skipped }
