/* Runs the schedule: one segment after the other, each in sweeps over its operators.
 *
 * In a sweep every operator in turn computes the rows whose inputs exist, but no more than its
 * `rows_per_sweep`: so the rows of a ring are consumed before they are overwritten. The planner
 * derives the rings' sizes from these very rules.
 */
#include "kernels/kernels.h"

/* What lil_run works on. */
typedef struct lil_run_state {
    const uint8_t *model;
    const uint8_t *constants; /* where the segment's constants begin */
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
    return op >= run->segment.first_operator &&
           op < (uint32_t)run->segment.first_operator + run->segment.operator_count;
}

/* Rows that an operator goes through: its output's, or its input's when it is a sink. */
static uint32_t total_rows(const lil_run_state *run, const lil_operator *op) {
    if (op->flags & LIL_SINK) {
        lil_edge edge = lil_load_edge(run->model, &run->header, op->first_edge);
        return lil_load_tensor(run->model, &run->header, edge.tensor).height;
    }
    return lil_load_tensor(run->model, &run->header, op->output).height;
}

/* Rows of a tensor that exist by now. */
static int32_t rows_ready(const lil_run_state *run, const lil_tensor *tensor) {
    if (!in_segment(run, tensor->producer)) {
        return (int32_t)tensor->height;
    }
    uint32_t rows = run->progress->rows[tensor->producer - run->segment.first_operator];
    lil_operator op = lil_load_operator(run->model, &run->header, tensor->producer);
    if (op.flags & LIL_SINK) {
        return rows == total_rows(run, &op) ? (int32_t)tensor->height : 0;
    }
    return (int32_t)rows;
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
    lil_edge edges[LIL_MAX_INPUTS];
} lil_pass;

static void load_pass(const lil_run_state *run, uint32_t index, lil_pass *pass) {
    lil_call *call = &pass->call;
    call->op = lil_load_operator(run->model, &run->header, index);
    call->output = lil_load_tensor(run->model, &run->header, call->op.output);
    call->constants = run->constants + (call->op.constants_offset - run->segment.constants_offset);
    call->scratch = run->arena + call->op.scratch_offset;
    for (uint32_t i = 0; i < call->op.edge_count; i++) {
        lil_source *source = &call->sources[i];
        pass->edges[i] = lil_load_edge(run->model, &run->header, call->op.first_edge + i);
        source->tensor = lil_load_tensor(run->model, &run->header, pass->edges[i].tensor);
        source->row_bytes = lil_row_bytes(&source->tensor);
        source->base = tensor_base(run, pass->edges[i].tensor, &source->tensor);
        if (pass->edges[i].tensor == run->in_place) {
            source->tensor.ring_rows = source->tensor.height;
        }
    }
}

static bool is_ready(const lil_run_state *run, const lil_pass *pass, uint32_t row) {
    if (pass->call.op.flags & LIL_SINK) {
        return rows_ready(run, &pass->call.sources[0].tensor) > (int32_t)row;
    }
    for (uint32_t i = 0; i < pass->call.op.edge_count; i++) {
        const lil_tensor *tensor = &pass->call.sources[i].tensor;
        int32_t last = lil_last_row(&pass->edges[i], (int32_t)tensor->height, (int32_t)row);
        if (rows_ready(run, tensor) <= last) {
            return false;
        }
    }
    return true;
}

/* Where a row of an operator's output goes: a sink has one place for it all. */
static int8_t *output_row(const lil_run_state *run, const lil_call *call, uint32_t row) {
    uint32_t slot = call->op.flags & LIL_SINK ? 0 : row % call->output.ring_rows;
    return (int8_t *)run->arena + call->output.offset + slot * lil_row_bytes(&call->output);
}

static void compute_row(const lil_run_state *run, lil_pass *pass, uint32_t row, uint32_t count) {
    lil_call *call = &pass->call;
    call->y = (int32_t)row;
    call->pixels = count * call->output.width;
    call->out = output_row(run, call, row);
    for (uint32_t i = 0; i < call->op.edge_count; i++) {
        call->sources[i].first = lil_first_row(&pass->edges[i], (int32_t)row);
    }
    lil_find_kernel(call->op.kind)(call);
}

#ifdef LIL_CHECK_RINGS
/* Whether a ring has overwritten a row that is about to be read: a fault of the planner. */
static bool has_lost_row(const lil_run_state *run, const lil_pass *pass, uint32_t row) {
    for (uint32_t i = 0; i < pass->call.op.edge_count; i++) {
        const lil_tensor *tensor = &pass->call.sources[i].tensor;
        int32_t oldest = (int32_t)row;
        if (!(pass->call.op.flags & LIL_SINK)) {
            oldest = lil_first_row(&pass->edges[i], (int32_t)row);
        }
        oldest = oldest < 0 ? 0 : oldest;
        if (rows_ready(run, tensor) - oldest > (int32_t)tensor->ring_rows) {
            return true;
        }
    }
    return false;
}
#endif

/* Takes one row of a graph input from the source. Returns 1, 0 when the source has none left, or
 * an error. */
static int32_t take_row(lil_run_state *run, const lil_pass *pass, uint32_t row) {
    const lil_call *call = &pass->call;
    const lil_buffer *source = run->source;
    uint32_t index = call->op.parameters.words[0];
    uint32_t row_elements = call->output.width * call->output.channels;
    uint32_t row_source_bytes = row_elements * lil_source_element_bytes(source->typecode);
    if (run->progress->spent_source || source->size == 0) {
        run->wanted = (int32_t)index;
        return 0;
    }
    if (row_source_bytes == 0) {
        return LIL_ERROR_INPUT_TYPE;
    }
    if (source->size % row_source_bytes != 0 ||
        source->size / row_source_bytes > call->output.height - row + run->source_rows) {
        return LIL_ERROR_INPUT_SIZE;
    }
    if (run->source_rows == source->size / row_source_bytes) {
        run->wanted = (int32_t)index;
        return 0;
    }
    if (run->in_place != call->op.output) {
        lil_port port = lil_load_port(run->model, run->header.inputs_offset, index);
        int32_t status = lil_preprocess(run->model, &port, call->output.channels, source,
                                        run->source_rows * row_elements, row_elements,
                                        output_row(run, call, row));
        if (status != LIL_OK) {
            return status;
        }
    }
    run->source_rows++;
    run->progress->spent_source = row + 1 == call->output.height;
    return 1;
}

/* Rows that a pointwise operator can compute at once, since they lie one behind the other. */
static uint32_t run_length(const lil_pass *pass, uint32_t row, uint32_t limit) {
    const lil_call *call = &pass->call;
    uint32_t length = call->output.ring_rows - row % call->output.ring_rows;
    for (uint32_t i = 0; i < call->op.edge_count; i++) {
        const lil_tensor *tensor = &call->sources[i].tensor;
        if (tensor->height > 1) {
            uint32_t contiguous = tensor->ring_rows - row % tensor->ring_rows;
            length = contiguous < length ? contiguous : length;
        }
    }
    return length < limit ? length : limit;
}

/* Lets one operator compute what it can in this sweep. Returns the number of rows, or an error. */
static int32_t advance(lil_run_state *run, uint32_t index) {
    uint32_t *done = &run->progress->rows[index - run->segment.first_operator];
    lil_pass pass;
    load_pass(run, index, &pass);
    uint32_t total = total_rows(run, &pass.call.op);
    uint32_t before = *done;
    uint32_t limit = total;
    if (pass.call.op.rows_per_sweep != 0 && before + pass.call.op.rows_per_sweep < total) {
        limit = before + pass.call.op.rows_per_sweep;
    }
    if (pass.call.op.kind == LIL_INPUT) {
        int32_t taken = *done < total ? take_row(run, &pass, *done) : 0;
        *done += taken > 0 ? (uint32_t)taken : 0;
        return taken;
    }
    while (*done < limit && is_ready(run, &pass, *done)) {
        uint32_t count = 1;
        if (pass.call.op.flags & LIL_POINTWISE) {
            uint32_t ready = *done + 1;
            while (ready < limit && is_ready(run, &pass, ready)) {
                ready++;
            }
            count = run_length(&pass, *done, ready - *done);
        }
#ifdef LIL_CHECK_RINGS
        if (has_lost_row(run, &pass, *done)) {
            return LIL_ERROR_SCHEDULE;
        }
#endif
        compute_row(run, &pass, *done, count);
        *done += count;
    }
    return (int32_t)(*done - before);
}

/* A source that covers the whole map of the segment's input in int8 is read where it lies, when
 * the input is streamed. */
static uint32_t find_in_place(const lil_run_state *run) {
    lil_operator op = lil_load_operator(run->model, &run->header, run->segment.first_operator);
    lil_tensor tensor = lil_load_tensor(run->model, &run->header, op.output);
    bool is_whole = run->source->typecode == 'b' && run->progress->rows[0] == 0 &&
                    !run->progress->spent_source &&
                    run->source->size == tensor.height * lil_row_bytes(&tensor);
    return op.kind == LIL_INPUT && tensor.ring_rows < tensor.height && is_whole ? op.output
                                                                                : LIL_NONE;
}

/* Returns LIL_DONE at the end of the segment, or the index of the input it waits for. */
static int32_t run_segment(lil_run_state *run) {
    uint32_t first = run->segment.first_operator;
    run->in_place = find_in_place(run);
    for (;;) {
        bool has_moved = false;
        bool is_finished = true;
        run->wanted = -1;
        for (uint32_t index = first; index < first + run->segment.operator_count; index++) {
            int32_t rows = advance(run, index);
            if (rows < 0) {
                return rows;
            }
            if (run->wanted >= 0) {
                return run->wanted; /* the others wait, too: rings are sized for equal paces */
            }
            has_moved = has_moved || rows > 0;
            lil_operator op = lil_load_operator(run->model, &run->header, index);
            is_finished = is_finished && run->progress->rows[index - first] == total_rows(run, &op);
        }
        if (is_finished) {
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

int32_t lil_run(const lil_buffer *model, const lil_buffer *context, const lil_buffer *arena,
                const lil_buffer *source) {
    lil_run_state run;
    run.model = (const uint8_t *)model->data;
    run.header = lil_load_header(run.model);
    run.progress = (lil_progress *)context->data;
    run.arena = (uint8_t *)arena->data;
    run.source = source;
    run.source_rows = 0;
    run.is_mapped = lil_is_mapped(model, &run.header);
    if (context->size < run.header.context_bytes || (uintptr_t)context->data % 4 != 0) {
        return LIL_ERROR_CONTEXT_SIZE;
    }
    if (run.progress->begun != run.header.checksum ||
        run.progress->segment > run.header.segment_count) {
        return LIL_ERROR_NOT_BEGUN;
    }
    if (arena->size < run.header.arena_bytes) {
        return LIL_ERROR_ARENA_SIZE;
    }
    if ((uintptr_t)arena->data % 8 != 0) {
        return LIL_ERROR_ARENA_ALIGNMENT;
    }
    while (run.progress->segment < run.header.segment_count) {
        int32_t status = open_segment(&run);
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
