# shellcheck shell=bash
# An older processor: the same package starts there and answers, with the back end that is made for it. `backend` names it.
. ./lib.sh

install_site
apt-get install -y -q --no-install-recommends -o Dpkg::Use-Pty=0 ./promptd_*.deb >apt.log 2>&1 || { cat apt.log; fail 'apt'; }
grep -m 1 'model name' /proc/cpuinfo
add_model 300
step 'a device asks'
TOKENS=4 answers 300 || fail 'no answer'
step 'the back end'
grep -o 'libggml-cpu[^ ]*\.so' "/proc/$(engine_of)/maps" | sort -u | tee loaded
[ "$(cat loaded)" = "libggml-cpu-$(cat backend).so" ] || fail "not the back end $(cat backend)"
