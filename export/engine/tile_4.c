/* needs tile tile_dsp tile_plain4 */
#if DSP
THREE(three_4, LOOP_4, EIGHTH)
ONE(one_4, TWO_PAIRS_OF_ONE_4, EIGHTH)
static const Form k4 = {three_4, one_4};
#else
#define k4 kPlain4
#endif
