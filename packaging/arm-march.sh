#!/bin/sh
# Before the compiler when llama.cpp is built for ARM (CMAKE_C_COMPILER_LAUNCHER). GCC 12 does not know armv9.2-a and SME, for
# which llama.cpp builds two of its back ends; their code has nothing of SME (only KleidiAI would), so that the generation
# before it compiles to the same.
for argument; do
  shift
  case $argument in
    -march=armv9.2-a*+sme) argument=-march=armv8.6-a${argument#-march=armv9.2-a} argument=${argument%+sme} ;;
  esac
  set -- "$@" "$argument"
done
exec ccache "$@"
