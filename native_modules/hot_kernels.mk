# The kernels that gain from -O2, by their paths below this folder: those with inline functions in
# their loops. The others are as fast with -Os, and a native module's text is RAM on a board.
HOT_KERNELS := convolution.c depthwise.c elementwise.c fully_connected.c mean.c pool.c \
               dsp/depthwise%.c mve/%.c
HOT_KERNELS := $(addprefix core/kernels/,$(HOT_KERNELS))
HOT_KERNELS += $(addprefix core/training/,convolution_gradient.c depthwise_gradient.c \
               clamp_gradient.c update_bias.c update_convolution.c dsp/%.c)
