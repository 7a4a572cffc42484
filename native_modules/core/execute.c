/* Runs the schedule: one segment after the other, each in sweeps over its operators.
 *
 * In a sweep every operator in turn computes the rows whose inputs exist, but no more than its
 * `rows_per_sweep`: so the rows of a ring are consumed before they are overwritten. The planner
 * derives the rings' sizes from these very rules.
 */
#include "training/split.h"

#include <stddef.h>

/* What lil_run works on. */
typedef struct lil_run_state {
    const uint8_t *model;
    const uint8_t *tensors; /* where the records begin */
    const uint8_t *operators;
    const uint8_t *edges;
    const uint8_t *constants; /* the segment's */
    lil_header header;
    lil_segment segment;
    lil_progress *progress;
    uint8_t *arena;
    const lil_buffer *source;
    uint32_t source_rows; /* that the segment's input has taken from the source */
    uint32_t in_place;    /* tensor that is read where the source lies, or LIL_NONE */
    int32_t wanted;       /* input whose rows are missing, or -1 */
    bool is_mapped;       /* the constants are in memory with the front */
} lil_run_state;

int32_t lil_begin(const lil_buffer *model, const lil_buffer *context) {
    lil_header header = lil_load_header((const uint8_t *)model->data);
    if (context->size < header.context_bytes || (uintptr_t)context->data % 4 != 0) {
        return LIL_ERROR_CONTEXT_SIZE;
    }
    memset(context->data, 0, header.context_bytes);
    ((lil_progress *)context->data)->begun = header.checksum;
    return LIL_OK;
}

static bool in_segment(const lil_run_state *run, uint32_t op) {
    return op - run->segment.first_operator < run->segment.operator_count;
}

/* Where an operator's record lies in the file, and a tensor's. */
static const uint8_t *operator_record(const lil_run_state *run, uint32_t index) {
    return run->operators + index * sizeof(lil_operator);
}

static const uint8_t *tensor_record(const lil_run_state *run, uint32_t index) {
    return run->tensors + index * sizeof(lil_tensor);
}

static uint32_t load_uint16(const uint8_t *address) {
    uint16_t value;
    memcpy(&value, address, sizeof value);
    return value;
}

static const int8_t *tensor_base(const lil_run_state *run, uint32_t index,
                                 const lil_tensor *tensor) {
    if (index == run->in_place) {
        return (const int8_t *)run->source->data;
    }
    if (tensor->storage == LIL_CONSTANT) {
        return (const int8_t *)run->model + tensor->offset;
    }
    return (const int8_t *)run->arena + tensor->offset;
}

/* An operator with its inputs, ready to be called for any row. */
typedef struct lil_pass {
    lil_call call;
    uint32_t *done; /* rows computed; consumed, for a sink */
    uint32_t total; /* of its output; of its input, for a sink */
    lil_edge edges[LIL_MAX_INPUTS];
    uint32_t ready[LIL_MAX_INPUTS]; /* rows of each input that exist */
} lil_pass;

/* Rows of a sink's output that exist by now: all of them or none. Rarely asked, hence on its own.
 */
static __attribute__((noinline)) uint32_t rows_of_sink(const lil_run_state *run, uint32_t index,
                                                       uint32_t height) {
    uint32_t edge = load_uint16(operator_record(run, index) + offsetof(lil_operator, first_edge));
    uint32_t consumed =
        load_uint16(run->edges + edge * sizeof(lil_edge) + offsetof(lil_edge, tensor));
    uint32_t rows =
        (uint32_t)lil_load_int32(tensor_record(run, consumed) + offsetof(lil_tensor, height));
    bool is_done = run->progress->rows[index - run->segment.first_operator] == rows;
    return is_done ? height : 0;
}

/* Rows of a tensor that exist by now. No operator of the same segment computes any while another
 * one is in its pass. */
static uint32_t rows_ready(const lil_run_state *run, const lil_tensor *tensor) {
    uint32_t producer = tensor->producer;
    if (!in_segment(run, producer)) {
        return tensor->height;
    }
    if (operator_record(run, producer)[offsetof(lil_operator, flags)] & LIL_SINK) {
        return rows_of_sink(run, producer, tensor->height);
    }
    return run->progress->rows[producer - run->segment.first_operator];
}

/* The records are copied straight to where they are used: this runs for every row. */
static void load_pass(const lil_run_state *run, uint32_t index, lil_pass *pass) {
    lil_call *call = &pass->call;
    const uint8_t *op = operator_record(run, index);
    /* In two, without a loop over words. */
    memcpy(&call->op, op,
           LIL_TRAINING ? offsetof(lil_operator, parameters)
                        : offsetof(lil_operator, trained_offset));
    memcpy(&call->op.parameters, op + offsetof(lil_operator, parameters),
           sizeof call->op.parameters);
    memcpy(&call->output, tensor_record(run, call->op.output), sizeof call->output);
    call->constants = run->constants + (call->op.constants_offset - run->segment.constants_offset);
#if LIL_TRAINING
    call->trained =
        call->op.trained_offset == LIL_NONE ? NULL : run->arena + call->op.trained_offset;
    call->training = (lil_training *)(void *)run->arena;
#endif
    call->scratch = run->arena + call->op.scratch_offset;
    const uint8_t *edges = run->edges + call->op.first_edge * sizeof(lil_edge);
    for (uint32_t i = 0; i < call->op.edge_count; i++) {
        lil_source *source = &call->sources[i];
        lil_edge *edge = &pass->edges[i];
        memcpy(edge, edges + i * sizeof *edge, sizeof *edge);
        memcpy(&source->tensor, tensor_record(run, edge->tensor), sizeof source->tensor);
        source->row_bytes = lil_row_bytes(&source->tensor);
        source->base = tensor_base(run, edge->tensor, &source->tensor);
        pass->ready[i] = rows_ready(run, &source->tensor);
        if (edge->tensor == run->in_place) {
            source->tensor.ring_rows = source->tensor.height;
            source->tensor.pitch = source->row_bytes;
        }
    }
    pass->done = &run->progress->rows[index - run->segment.first_operator];
    pass->total = call->op.flags & LIL_SINK ? call->sources[0].tensor.height : call->output.height;
}

/* Rows of an output from `row` on can be computed when `ready` rows of an input exist: the end of
 * them, at most `limit`. Where rows are scaled only one row is looked at. */
static uint32_t end_of_rows(const lil_edge *edge, uint32_t ready, uint32_t height, uint32_t row,
                            uint32_t limit) {
    uint32_t end = row + 1;
    if (ready == height) {
        return limit;
    }
    if ((int32_t)ready <= lil_last_row(edge, (int32_t)height, (int32_t)row)) {
        end = row;
    } else if (edge->divisor == 1 && edge->step > 0) {
        end = (uint32_t)((int32_t)ready - 1 - edge->last) / (uint32_t)edge->step + 1;
    }
    return end < limit ? end : limit;
}

/* The same for all inputs. */
static uint32_t end_of_pass(const lil_pass *pass, uint32_t row, uint32_t limit) {
    uint32_t first = 0;
    if (pass->call.op.flags & LIL_SINK) {
        limit = pass->ready[0] < limit ? pass->ready[0] : limit;
        if (!LIL_TRAINING) {
            return limit;
        }
        first = 1; /* the others as any operator reads them, for the row that is consumed */
    }
    for (uint32_t i = first; i < pass->call.op.edge_count; i++) {
        uint32_t height = pass->call.sources[i].tensor.height;
        limit = end_of_rows(&pass->edges[i], pass->ready[i], height, row, limit);
    }
    return limit;
}

/* Where a row of an operator's output goes: a sink has one place for it all. */
static int8_t *output_row(const lil_run_state *run, const lil_call *call, uint32_t row) {
    uint32_t slot = call->op.flags & LIL_SINK ? 0 : row % call->output.ring_rows;
    return (int8_t *)run->arena + call->output.offset + slot * call->output.pitch;
}

static void compute_rows(const lil_run_state *run, lil_pass *pass, uint32_t row, uint32_t count) {
    lil_call *call = &pass->call;
    call->y = (int32_t)row;
    call->pixels = count * call->output.width;
    call->out = output_row(run, call, row);
    for (uint32_t i = 0; i < call->op.edge_count; i++) {
        call->sources[i].first = lil_first_row(&pass->edges[i], (int32_t)row);
    }
#if LIL_TRAINING
    if (lil_is_split(&call->op, &call->sources[0].tensor)) {
        lil_compute_split(call, lil_find_kernel(call->op.kind));
        return;
    }
#endif
    lil_find_kernel(call->op.kind)(call);
}

#ifdef LIL_CHECK_RINGS
/* Whether a ring has overwritten a row that is about to be read: a fault of the planner. */
static bool has_lost_row(const lil_pass *pass, uint32_t row) {
    for (uint32_t i = 0; i < pass->call.op.edge_count; i++) {
        int32_t oldest = (int32_t)row;
        if (i > 0 || !(pass->call.op.flags & LIL_SINK)) {
            oldest = lil_first_row(&pass->edges[i], (int32_t)row);
        }
        oldest = oldest < 0 ? 0 : oldest;
        int32_t held = (int32_t)pass->call.sources[i].tensor.ring_rows;
        if ((int32_t)pass->ready[i] - oldest > held) {
            return true;
        }
    }
    return false;
}
#endif

/* Whether the source is for this input, and whole rows of it. Returns 1, 0 when another buffer is
 * wanted, or an error. */
static int32_t check_source(lil_run_state *run, uint32_t input, bool is_patch,
                            uint32_t row_source_bytes, uint32_t rows_wanted) {
    const lil_buffer *source = run->source;
    bool is_spent =
        run->progress->spent_source != 0 && !(is_patch && run->progress->spent_source == 1 + input);
    if (is_spent || source->size == 0) {
        run->wanted = (int32_t)input;
        return 0;
    }
    if (row_source_bytes == 0) {
        return LIL_ERROR_INPUT_TYPE;
    }
    uint32_t rows = source->size / row_source_bytes;
    if (is_patch && rows < rows_wanted) {
        return LIL_ERROR_INPUT_WHOLE;
    }
    if (source->size % row_source_bytes != 0 || rows > rows_wanted) {
        return LIL_ERROR_INPUT_SIZE;
    }
    if (!is_patch && rows == run->source_rows) {
        run->wanted = (int32_t)input;
        return 0;
    }
    return 1;
}

/* Takes one row of a graph input, or of a patch of it, from the source. Returns 1, 0 when the
 * source has none left, or an error. */
static int32_t take_row(lil_run_state *run, const lil_pass *pass, uint32_t row) {
    const lil_call *call = &pass->call;
    const lil_patch *patch = &call->op.parameters.patch;
    lil_port port = lil_load_port(run->model, run->header.inputs_offset, patch->input);
    lil_tensor whole = lil_load_tensor(run->model, &run->header, port.tensor);
    bool is_patch = port.tensor != call->op.output;
    uint32_t row_elements = whole.width * whole.channels;
    uint32_t rows_wanted = is_patch ? whole.height : whole.height - row + run->source_rows;
    int32_t status =
        check_source(run, patch->input, is_patch,
                     row_elements * lil_source_element_bytes(run->source->typecode), rows_wanted);
    if (status <= 0) {
        return status;
    }
    if (run->in_place != call->op.output) {
        uint32_t source_row = is_patch ? patch->begin_height + row : run->source_rows;
        status = lil_preprocess(run->model, &port, whole.channels, run->source,
                                source_row * row_elements + patch->begin_width * whole.channels,
                                call->output.width * whole.channels, output_row(run, call, row));
        if (status != LIL_OK) {
            return status;
        }
    }
    run->source_rows++;
    if (is_patch || row + 1 == whole.height) {
        run->progress->spent_source = (uint8_t)(1 + patch->input);
    }
    return 1;
}

/* Rows that a pointwise operator can compute at once, since they lie one behind the other. */
static uint32_t run_length(const lil_pass *pass, uint32_t row, uint32_t limit) {
    const lil_call *call = &pass->call;
    uint32_t length = call->output.ring_rows - row % call->output.ring_rows;
    bool is_contiguous = lil_is_contiguous(&call->output);
    for (uint32_t i = 0; i < call->op.edge_count; i++) {
        const lil_tensor *tensor = &call->sources[i].tensor;
        if (tensor->height > 1) {
            uint32_t rest = tensor->ring_rows - row % tensor->ring_rows;
            length = rest < length ? rest : length;
            is_contiguous = is_contiguous && lil_is_contiguous(tensor);
        }
    }
    length = is_contiguous ? length : 1;
    return length < limit ? length : limit;
}

/* Whether an operator's first input surely lacks rows that its next row reads: a cheap look before
 * load_pass, since behind a stride operators wait in every other sweep. */
static bool is_starved(const lil_run_state *run, uint32_t index) {
    const uint8_t *op = operator_record(run, index);
    if (load_uint16(op + offsetof(lil_operator, edge_count)) == 0 ||
        op[offsetof(lil_operator, flags)] & LIL_SINK) {
        return false;
    }
    lil_edge edge;
    memcpy(&edge, run->edges + load_uint16(op + offsetof(lil_operator, first_edge)) * sizeof edge,
           sizeof edge);
    const uint8_t *tensor = tensor_record(run, edge.tensor);
    uint32_t producer = load_uint16(tensor + offsetof(lil_tensor, producer));
    if (!in_segment(run, producer)) {
        return false;
    }
    const uint32_t *rows = run->progress->rows - run->segment.first_operator;
    int32_t height = lil_load_int32(tensor + offsetof(lil_tensor, height));
    return (int32_t)rows[producer] <= lil_last_row(&edge, height, (int32_t)rows[index]);
}

/* Whether an operator is for training, in an inference. */
static bool is_skipped(const lil_run_state *run, uint32_t index) {
    return !(LIL_TRAINING && run->progress->is_training) &&
           operator_record(run, index)[offsetof(lil_operator, flags)] & LIL_FOR_TRAINING;
}

/* What one operator did in a sweep. */
typedef struct lil_advance {
    int32_t status; /* LIL_OK or an error */
    bool has_moved;
    bool is_finished;
} lil_advance;

/* Lets one operator compute what it can in this sweep. */
static lil_advance advance(lil_run_state *run, uint32_t index) {
    if (is_skipped(run, index)) {
        return (lil_advance){LIL_OK, false, true};
    }
    if (is_starved(run, index)) {
        return (lil_advance){LIL_OK, false, false};
    }
    lil_pass pass;
    load_pass(run, index, &pass);
    uint32_t row = *pass.done;
    uint32_t limit = pass.total;
    uint32_t most = pass.call.op.rows_per_sweep;
    bool is_input = pass.call.op.kind == LIL_INPUT;
    if (most != 0) {
        most -= is_input ? row % most : 0; /* the source may have ended in the middle of a sweep */
        limit = row + most < limit ? row + most : limit;
    }
    if (is_input) {
        int32_t taken = 1;
        while (row < limit && taken == 1) {
            taken = take_row(run, &pass, row);
            if (taken < 0) {
                return (lil_advance){taken, false, false};
            }
            row += (uint32_t)taken;
            *pass.done = row;
        }
        return (lil_advance){LIL_OK, taken == 1, row == pass.total};
    }
    while (row < limit) {
        uint32_t end = end_of_pass(&pass, row, limit);
        if (end <= row) {
            break;
        }
        uint32_t count = 1;
        if (pass.call.op.flags & LIL_POINTWISE && end > row + 1) {
            count = run_length(&pass, row, end - row);
        }
#ifdef LIL_CHECK_RINGS
        if (has_lost_row(&pass, row)) {
            return (lil_advance){LIL_ERROR_SCHEDULE, false, false};
        }
#endif
        compute_rows(run, &pass, row, count);
        row += count;
    }
    bool has_moved = row != *pass.done;
    *pass.done = row;
    return (lil_advance){LIL_OK, has_moved, row == pass.total};
}

/* A source that covers the whole map of the segment's input in int8 is read where it lies, when
 * the input is streamed. */
static uint32_t find_in_place(const lil_run_state *run) {
    lil_operator op = lil_load_operator(run->model, &run->header, run->segment.first_operator);
    if (op.kind != LIL_INPUT || run->source->typecode != 'b' || run->progress->rows[0] != 0 ||
        run->progress->spent_source != 0) {
        return LIL_NONE;
    }
    lil_port port = lil_load_port(run->model, run->header.inputs_offset, op.parameters.patch.input);
    lil_tensor tensor = lil_load_tensor(run->model, &run->header, op.output);
    bool is_whole = port.tensor == op.output && tensor.ring_rows < tensor.height &&
                    run->source->size == tensor.height * lil_row_bytes(&tensor);
    return is_whole ? op.output : LIL_NONE;
}

/* Returns LIL_DONE at the end of the segment, or the index of the input it waits for. */
static int32_t run_segment(lil_run_state *run) {
    uint32_t first = run->segment.first_operator; /* of those that are not finished */
    uint32_t end = first + run->segment.operator_count;
    run->in_place = find_in_place(run);
    for (;;) {
        bool has_moved = false;
        run->wanted = -1;
        for (uint32_t index = first; index < end; index++) {
            lil_advance step = advance(run, index);
            if (step.status != LIL_OK) {
                return step.status;
            }
            if (run->wanted >= 0) {
                return run->wanted; /* the others wait, too: rings are sized for equal paces */
            }
            has_moved = has_moved || step.has_moved;
            if (index == first && step.is_finished) {
                first++;
            }
        }
        if (first == end) {
            return LIL_DONE;
        }
        if (!has_moved) {
            return LIL_ERROR_SCHEDULE;
        }
    }
}

/* Finds the segment's constants, in the file or in its page of the arena. Returns LIL_WANTS_PAGE
 * when they have to be read first, and an error when they are unsound. */
static int32_t open_segment(lil_run_state *run) {
    run->segment = lil_load_segment(run->model, &run->header, run->progress->segment);
    if (run->is_mapped || run->segment.constants_bytes == 0) {
        run->constants = run->model + run->segment.constants_offset;
        return LIL_OK;
    }
    run->constants = run->arena + run->segment.page_offset;
    if (!run->progress->has_page) {
        run->progress->has_page = 1;
        return LIL_WANTS_PAGE + run->progress->segment;
    }
    for (uint32_t i = 0; i < run->segment.operator_count; i++) {
        lil_operator op =
            lil_load_operator(run->model, &run->header, run->segment.first_operator + i);
        const uint8_t *constants =
            run->constants + (op.constants_offset - run->segment.constants_offset);
        int32_t status = lil_verify_operator(run->model, &run->header, &op, constants);
        if (status != LIL_OK) {
            run->progress->has_page = 0;
            return status;
        }
    }
    return LIL_OK;
}

/* Takes up what lil_begin began. */
static int32_t resume(lil_run_state *run, const lil_buffer *model, const lil_buffer *context,
                      const lil_buffer *arena) {
    run->model = (const uint8_t *)model->data;
    run->header = lil_load_header(run->model);
    run->tensors = run->model + run->header.tensors_offset;
    run->operators = run->model + run->header.operators_offset;
    run->edges = run->model + run->header.edges_offset;
    run->progress = (lil_progress *)context->data;
    run->arena = (uint8_t *)arena->data;
    run->is_mapped = lil_is_mapped(model, &run->header);
    if (context->size < run->header.context_bytes || (uintptr_t)context->data % 4 != 0) {
        return LIL_ERROR_CONTEXT_SIZE;
    }
    if (run->progress->begun != run->header.checksum ||
        run->progress->segment > run->header.segment_count) {
        return LIL_ERROR_NOT_BEGUN;
    }
    if (arena->size < run->header.arena_bytes) {
        return LIL_ERROR_ARENA_SIZE;
    }
    if ((uintptr_t)arena->data % 8 != 0) {
        return LIL_ERROR_ARENA_ALIGNMENT;
    }
    return LIL_OK;
}

#if LIL_TRAINING

/* Copies what training changes of an operator's constants. */
static void reset_operator(const lil_run_state *run, const lil_operator *op) {
    if (op->kind >= LIL_MASK || op->trained_offset == LIL_NONE) {
        return;
    }
    const uint8_t *from = run->constants + (op->constants_offset - run->segment.constants_offset);
    uint8_t *to = run->arena + op->trained_offset;
    uint32_t count = lil_load_tensor(run->model, &run->header, op->output).channels;
    lil_edge edge = lil_load_edge(run->model, &run->header, op->first_edge);
    lil_tensor input = lil_load_tensor(run->model, &run->header, edge.tensor);
    memcpy(to, from, 4 * count);
    lil_reset_weights(op, &input, count, from, to + 4 * count);
}

int32_t lil_reset(const lil_buffer *model, const lil_buffer *context, const lil_buffer *arena) {
    lil_run_state run;
    int32_t status = resume(&run, model, context, arena);
    if (status != LIL_OK) {
        return status;
    }
    if (run.header.training_bytes == 0) {
        return LIL_DONE;
    }
    memset(run.arena, 0, run.header.training_bytes);
    for (; run.progress->segment < run.header.inference_segments; run.progress->segment++) {
        status = open_segment(&run);
        if (status != LIL_OK) {
            return status;
        }
        for (uint32_t i = 0; i < run.segment.operator_count; i++) {
            lil_operator op =
                lil_load_operator(run.model, &run.header, run.segment.first_operator + i);
            reset_operator(&run, &op);
        }
        run.progress->has_page = 0;
    }
    return LIL_DONE;
}

#endif

int32_t lil_run(const lil_buffer *model, const lil_buffer *context, const lil_buffer *arena,
                const lil_buffer *source) {
    lil_run_state run;
    run.source = source;
    run.source_rows = 0;
    int32_t status = resume(&run, model, context, arena);
    if (status != LIL_OK) {
        return status;
    }
    uint32_t end = run.header.inference_segments;
#if LIL_TRAINING
    end = run.progress->is_training ? run.header.segment_count : end;
#endif
    while (run.progress->segment < end) {
        status = open_segment(&run);
        if (status == LIL_OK) {
            status = run_segment(&run);
        }
        if (status != LIL_DONE) {
            if (status < LIL_DONE) {
                run.progress->spent_source = 0; /* the next source is another one */
            }
            return status;
        }
        memset(run.progress->rows, 0, 4 * (uint32_t)run.segment.operator_count);
        run.progress->has_page = 0;
        run.progress->segment++;
    }
    return LIL_DONE;
}
