/* needs tile tile_dsp tile_plain */
#if DSP
THREE(three_8, LOOP_8, DOUBLED)
ONE(one_8, TWO_PAIRS_OF_ONE_8, DOUBLED)
static const Form k8 = {three_8, one_8};
#else
#define k8 kPlain
#endif
