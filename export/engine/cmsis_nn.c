/* Structures of CMSIS-NN, whose functions are called: compile and link with a checkout of it. */
#include <arm_nnfunctions.h>
