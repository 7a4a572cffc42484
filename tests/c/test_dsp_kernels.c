/* The depthwise, elementwise, pooling and mean kernels of the ARM DSP extension, with its
 * instructions in plain C, against the portable ones: random shapes and numbers that models rarely
 * have. */
#define lil_depthwise_convolution dsp_depthwise_convolution
#define lil_add dsp_add
#define lil_subtract dsp_subtract
#define lil_multiply dsp_multiply
#define lil_average_pool dsp_average_pool
#define lil_max_pool dsp_max_pool
#define lil_mean_kernel dsp_mean_kernel
#include "kernels/target.h"
#undef LIL_HAS_DSP
#define LIL_HAS_DSP 1
#include "kernels/dsp/depthwise.c"
#include "kernels/dsp/depthwise_3x3.c"
#include "kernels/dsp/depthwise_general.c"
#include "kernels/dsp/depthwise_strips.c"
#include "kernels/dsp/elementwise.c"
#include "kernels/dsp/mean.c"
#include "kernels/dsp/pool.c"
#undef lil_depthwise_convolution
#undef lil_add
#undef lil_subtract
#undef lil_multiply
#undef lil_average_pool
#undef lil_max_pool
#undef lil_mean_kernel
void lil_depthwise_convolution(const lil_call *call);
void lil_add(const lil_call *call);
void lil_subtract(const lil_call *call);
void lil_multiply(const lil_call *call);
void lil_average_pool(const lil_call *call);
void lil_max_pool(const lil_call *call);
void lil_mean_kernel(const lil_call *call);

#include "check.h"
#include "random_bits.h"

#include <stdlib.h>

#define RANDOM_CALLS 20000

static uint64_t state = 88172645463325252ull; /* of the random numbers */

static int32_t pick(int32_t low, int32_t high) {
    return low + (int32_t)(next_random(&state) % (uint64_t)((int64_t)high - low + 1));
}

static int8_t any_int8(bool extreme) {
    return (int8_t)(extreme ? (pick(0, 1) ? 127 : -128) : pick(-128, 127));
}

static void test_depthwise(void) {
    lil_call call;
    memset(&call, 0, sizeof call);
    lil_window *w = &call.op.parameters.window;
    static const int kernels[] = {3, 3, 5, 7, 5, 7, 1, 2, 4};
    uint32_t kernel = (uint32_t)kernels[pick(0, 8)];
    w->kernel_width = (uint16_t)kernel;
    w->kernel_height = (uint16_t)(pick(0, 9) ? kernel : (uint32_t)pick(1, 7));
    w->stride_width = (uint16_t)pick(1, pick(0, 9) ? 2 : 3);
    w->stride_height = (uint16_t)pick(1, 2);
    w->dilation_height = (uint16_t)(pick(0, 9) ? 1 : 2);
    w->dilation_width = (uint16_t)(pick(0, 9) ? 1 : 2);
    w->pad_left = (int16_t)pick(-3, (int32_t)kernel + 2);
    w->pad_top = (int16_t)pick(-2, (int32_t)kernel);
    uint32_t channels = (uint32_t)pick(1, 21);
    uint32_t multiplier = pick(0, 9) ? 1 : (uint32_t)pick(1, 3);
    uint32_t in_width = (uint32_t)pick(1, pick(0, 1) ? 12 : 60);
    uint32_t in_height = (uint32_t)pick(1, 9);
    uint32_t out_width = (uint32_t)pick(1, pick(0, 1) ? 9 : 50);
    uint32_t outs = channels * multiplier;
    bool extreme = pick(0, 3) == 0;
    lil_source *source = &call.sources[0];
    source->tensor.width = in_width;
    source->tensor.height = in_height;
    source->tensor.channels = channels;
    source->tensor.ring_rows = in_height;
    source->tensor.pitch = in_width * channels + (uint32_t)pick(0, 5);
    source->tensor.zero_point = (int8_t)(pick(0, 2) ? pick(-128, 127) : -128);
    source->row_bytes = source->tensor.pitch;
    int8_t *map = malloc(source->tensor.pitch * in_height);
    for (uint32_t i = 0; i < source->tensor.pitch * in_height; i++)
        map[i] = any_int8(extreme);
    source->base = map;
    uint32_t y = (uint32_t)pick(0, 6);
    source->first = (int32_t)(y * w->stride_height) - w->pad_top;
    call.output.width = out_width;
    call.output.channels = outs;
    call.output.zero_point = (int8_t)pick(-128, 127);
    call.pixels = out_width;
    uint32_t taps = (uint32_t)w->kernel_height * kernel;
    uint32_t table = (9 * outs + 3) / 4 * 4;
    uint8_t *constants = malloc(table + taps * outs);
    for (uint32_t c = 0; c < outs; c++) {
        int32_t bias = pick(-20000, 20000);
        int32_t m = pick(1 << 30, 2147483647);
        memcpy(constants + 4 * c, &bias, 4);
        memcpy(constants + 4 * outs + 4 * c, &m, 4);
        constants[8 * outs + c] = (uint8_t)(int8_t)-pick(1, 14);
    }
    for (uint32_t i = 0; i < taps * outs; i++)
        constants[table + i] = (uint8_t)any_int8(extreme);
    call.constants = constants;
    call.op.flags = pick(0, 9) ? LIL_SHIFTS_RIGHT : 0;
    call.op.activation_min = -128;
    call.op.activation_max = 127;
    if (pick(0, 2) == 0)
        call.op.activation_min = call.output.zero_point;
    if (pick(0, 4) == 0)
        call.op.activation_max = (int8_t)pick(call.op.activation_min, 127);
    lil_tensor in = source->tensor;
    call.op.kind = LIL_DEPTHWISE_CONVOLUTION;
    uint32_t least = lil_scratch_bytes(&call.op, &in, &call.output);
    uint32_t wanted = lil_wanted_scratch_bytes(&call.op, &in, &call.output);
    uint32_t bytes = pick(0, 1) ? wanted : (uint32_t)pick((int32_t)least, (int32_t)wanted);
    call.op.scratch_bytes = bytes;
    int8_t *expected = malloc(out_width * outs);
    int8_t *found = malloc(out_width * outs);
    call.scratch = malloc(bytes);
    call.out = expected;
    lil_depthwise_convolution(&call);
    memset(call.scratch, 0xa5, bytes);
    call.out = found;
    dsp_depthwise_convolution(&call);
    CHECK(memcmp(expected, found, out_width * outs) == 0,
          "%ux%u stride %u dilation %u pad %d, %ux%ux%u to %u x %u", w->kernel_height, kernel,
          w->stride_width, w->dilation_width, w->pad_left, in_height, in_width, channels, out_width,
          outs);
    free(call.scratch);
    free(expected);
    free(found);
    free(map);
    free(constants);
}

static int8_t *any_map(lil_source *source, uint32_t height, uint32_t width, uint32_t channels) {
    bool extreme = pick(0, 3) == 0;
    lil_tensor *t = &source->tensor;
    t->height = t->ring_rows = height;
    t->width = width;
    t->channels = channels;
    t->pitch = width * channels;
    t->zero_point = (int8_t)pick(-128, 127);
    source->row_bytes = t->pitch;
    int8_t *map = malloc(t->pitch * height);
    for (uint32_t i = 0; i < t->pitch * height; i++)
        map[i] = any_int8(extreme);
    source->base = map;
    return map;
}

static void test_elementwise(void) {
    lil_call call;
    memset(&call, 0, sizeof call);
    uint32_t width = (uint32_t)pick(1, 9), channels = (uint32_t)pick(1, 19);
    bool one_a = pick(0, 5) == 0, one_b = pick(0, 5) == 0;
    int8_t *a = any_map(&call.sources[0], 1, one_a ? 1 : width, one_a && pick(0, 1) ? 1 : channels);
    int8_t *b = any_map(&call.sources[1], 1, one_b ? 1 : width, one_b && pick(0, 1) ? 1 : channels);
    call.output.width = width;
    call.output.channels = channels;
    call.output.zero_point = (int8_t)pick(-128, 127);
    call.pixels = width;
    call.op.activation_min = (int8_t)(pick(0, 2) ? -128 : pick(-128, 0));
    call.op.activation_max = (int8_t)(pick(0, 2) ? 127 : pick(0, 127));
    lil_rescale *r = &call.op.parameters.rescale;
    int half = pick(0, 3); /* 3: both */
    for (int i = 0; i < 2; i++) {
        r->multiplier[i] = half == i || half == 3 ? 1 << 30
                           : pick(0, 9)           ? pick(1 << 30, 2147483647)
                                                  : pick(0, 2147483647);
        r->shift[i] = (int8_t)(half == i || half == 3 ? 0 : -pick(0, pick(0, 1) ? 4 : 31));
    }
    r->multiplier[2] = pick(0, 9) ? pick(1 << 30, 2147483647) : pick(0, 2147483647);
    int kind = pick(0, 2);
    r->shift[2] = (int8_t)(kind == 2 ? -pick(-1, 12) : -pick(14, 24));
    int8_t *expected = malloc(width * channels), *found = malloc(width * channels);
    static void (*const portable[])(const lil_call *) = {lil_add, lil_subtract, lil_multiply};
    static void (*const dsp[])(const lil_call *) = {dsp_add, dsp_subtract, dsp_multiply};
    call.op.kind = (uint8_t)(LIL_ADD + kind);
    call.out = expected;
    portable[kind](&call);
    call.out = found;
    dsp[kind](&call);
    CHECK(memcmp(expected, found, width * channels) == 0,
          "kind %d, %u x %u, half %d, shifts %d %d %d", kind, width, channels, half, r->shift[0],
          r->shift[1], r->shift[2]);
    free(a);
    free(b);
    free(expected);
    free(found);
}

static void test_pool_and_mean(void) {
    lil_call call;
    memset(&call, 0, sizeof call);
    uint32_t width = (uint32_t)pick(1, pick(0, 9) ? 12 : 600), height = (uint32_t)pick(1, 7),
             channels = (uint32_t)pick(1, 14);
    int8_t *map = any_map(&call.sources[0], height, width, channels);
    int kind = pick(0, 2);
    bool is_sink = pick(0, 1);
    uint32_t out_width = width;
    call.op.activation_min = (int8_t)(pick(0, 2) ? -128 : pick(-128, 0));
    call.op.activation_max = (int8_t)(pick(0, 2) ? 127 : pick(0, 127));
    call.output.zero_point = (int8_t)pick(-128, 127);
    uint32_t out_channels = channels;
    if (kind < 2) {
        lil_window *w = &call.op.parameters.window;
        w->kernel_width = (uint16_t)pick(1, (int32_t)width);
        w->pad_left = (int16_t)pick(0, w->kernel_width - 1);
        w->stride_width = (uint16_t)pick(1, 3);
        w->kernel_height = (uint16_t)pick(1, (int32_t)height);
        out_width =
            (uint32_t)pick(1, (int32_t)((width - 1 + (uint32_t)w->pad_left) / w->stride_width) + 1);
        call.sources[0].first = pick(-w->kernel_height + 1, (int32_t)height - 1);
        call.op.kind = (uint8_t)(kind == 0 ? LIL_AVERAGE_POOL : LIL_MAX_POOL);
    } else {
        uint32_t axes = (uint32_t)pick(0, 7);
        if (is_sink)
            axes |= LIL_AXIS_HEIGHT;
        else
            axes &= ~(uint32_t)LIL_AXIS_HEIGHT;
        call.op.parameters.mean.axes = axes;
        call.op.parameters.mean.multiplier = pick(1 << 30, 2147483647);
        call.op.parameters.mean.shift = -pick(0, 8);
        out_width = axes & LIL_AXIS_WIDTH ? 1 : width;
        out_channels = axes & LIL_AXIS_CHANNELS ? 1 : channels;
        call.sources[0].first = pick(0, (int32_t)height - 1);
        call.op.kind = LIL_MEAN;
    }
    call.op.flags = is_sink ? LIL_SINK : 0;
    call.output.width = out_width;
    call.output.channels = out_channels;
    call.output.height = 1;
    call.pixels = out_width;
    uint32_t size = out_width * out_channels;
    int8_t *expected = malloc(size), *found = malloc(size);
    call.scratch = malloc(lil_scratch_bytes(&call.op, &call.sources[0].tensor, &call.output));
    static void (*const portable[])(const lil_call *) = {lil_average_pool, lil_max_pool,
                                                         lil_mean_kernel};
    static void (*const dsp[])(const lil_call *) = {dsp_average_pool, dsp_max_pool,
                                                    dsp_mean_kernel};
    for (int32_t y = 0; y < (is_sink ? (int32_t)height : 1); y++) {
        call.y = y;
        call.out = expected;
        portable[kind](&call);
    }
    for (int32_t y = 0; y < (is_sink ? (int32_t)height : 1); y++) {
        call.y = y;
        call.out = found;
        dsp[kind](&call);
    }
    CHECK(memcmp(expected, found, size) == 0, "kind %d, %ux%ux%u to %u, sink %d", kind, height,
          width, channels, out_width, is_sink);
    free(call.scratch);
    free(expected);
    free(found);
    free(map);
}

int main(void) {
    for (int i = 0; i < RANDOM_CALLS && failures < 10; i++) {
        test_depthwise();
        test_elementwise();
        test_pool_and_mean();
    }
    printf("dsp kernels: %d failures\n", failures);
    return failures != 0;
}
