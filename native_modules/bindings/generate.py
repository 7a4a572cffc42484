"""Write the bindings of the C core, and the stubs that describe them, from functions.toml."""

from __future__ import annotations

import argparse
import textwrap
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from string import Template

FUNCTIONS_FILE = Path(__file__).with_name("functions.toml")
ARGUMENT_KINDS = ("buffer", "optional buffer", "writable", "int")
RETURN_KINDS = ("status", "nothing", "value")
GENERATED = "/* Generated from functions.toml. */\n"


@dataclass(frozen=True)
class Argument:
    """One argument of a native function."""

    name: str
    kind: str


@dataclass(frozen=True)
class Function:
    """One function of the native module."""

    name: str
    arguments: tuple[Argument, ...]
    returns: str
    releases_gil: bool
    is_training: bool
    doc: str


def load_functions(path: Path = FUNCTIONS_FILE) -> list[Function]:
    """Read and check the list of functions."""
    functions = []
    for entry in tomllib.loads(path.read_text())["function"]:
        arguments = []
        for text in entry["arguments"]:
            name, _, kind = text.partition(": ")
            arguments.append(Argument(name, kind))
        function = Function(
            name=entry["name"],
            arguments=tuple(arguments),
            returns=entry.get("returns", "status"),
            releases_gil=entry.get("releases_gil", False),
            is_training=entry.get("training", False),
            doc=entry["doc"].strip(),
        )
        unknown = [item.kind for item in arguments if item.kind not in ARGUMENT_KINDS]
        if unknown or function.returns not in RETURN_KINDS:
            raise ValueError(f"{path}: {function.name} has an unknown argument or return kind")
        functions.append(function)
    return functions


def call(function: Function, buffer_expression: str) -> str:
    """Return the C call of the core; `buffer_expression` makes a pointer of a buffer's name."""
    arguments = [
        item.name if item.kind == "int" else buffer_expression.format(item.name)
        for item in function.arguments
    ]
    if function.returns == "value":
        arguments.append("&value")
    return f"lil_{function.name}({', '.join(arguments)})"


MICROPYTHON_HELPERS = """
static lil_buffer buffer_of(mp_obj_t object, mp_uint_t access) {
    mp_buffer_info_t info;
    mp_get_buffer_raise(object, &info, access);
    lil_buffer buffer;
    buffer.data = info.buf;
    buffer.size = (uint32_t)info.len;
    buffer.typecode = info.typecode == BYTEARRAY_TYPECODE ? 'B' : (char)info.typecode;
    return buffer;
}

static inline lil_buffer optional_buffer_of(mp_obj_t object) {
    if (object == mp_const_none) {
        lil_buffer none = {NULL, 0, 'B'};
        return none;
    }
    return buffer_of(object, MP_BUFFER_READ);
}

static inline int32_t int_of(mp_obj_t object) {
    mp_int_t number = (mp_int_t)mp_obj_get_int(object);
    if (number != (int32_t)number) {
        raise_value_error("integer argument out of range");
    }
    return (int32_t)number;
}

static int32_t checked(int32_t status) {
    if (status < 0) {
        raise_value_error(lil_error_text(status));
    }
    return status;
}
"""

NATMOD_HEAD = """
#include "py/dynruntime.h"

#include "lilliput.h"

static void raise_value_error(const char *text) {
    mp_raise_ValueError(text);
}
"""

# An error's text as a string object: CircuitPython compresses those of mp_raise_ValueError.
USERMOD_HEAD = """
#include <string.h>

#include "py/binary.h"
#include "py/runtime.h"

#include "lilliput.h"

static void raise_value_error(const char *text) {
    mp_raise_type_arg(&mp_type_ValueError, mp_obj_new_str(text, strlen(text)));
}
"""

NATMOD_TAIL = Template("""
mp_obj_t mpy_init(mp_obj_fun_bc_t *self, size_t n_args, size_t n_kw, mp_obj_t *args) {
    MP_DYNRUNTIME_INIT_ENTRY
$stores
    MP_DYNRUNTIME_INIT_EXIT
}
""")

USERMOD_TAIL = Template("""
static const mp_rom_map_elem_t module_globals_table[] = {
    {MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR__lilliput)},
$rows
};
static MP_DEFINE_CONST_DICT(module_globals, module_globals_table);

const mp_obj_module_t lilliput_module = {
    .base = {&mp_type_module},
    .globals = (mp_obj_dict_t *)&module_globals,
};

MP_REGISTER_MODULE(MP_QSTR__lilliput, lilliput_module);
""")


def micropython_function(function: Function) -> str:
    """Return the MicroPython wrapper of one function."""
    readers = {
        "buffer": "lil_buffer {0} = buffer_of(arguments[{1}], MP_BUFFER_READ);",
        "writable": "lil_buffer {0} = buffer_of(arguments[{1}], MP_BUFFER_RW);",
        "optional buffer": "lil_buffer {0} = optional_buffer_of(arguments[{1}]);",
        "int": "int32_t {0} = int_of(arguments[{1}]);",
    }
    count = len(function.arguments)
    name = f"binding_{function.name}"
    result = f"checked({call(function, '&{}')})"
    lines = [
        f"static mp_obj_t {name}(size_t count, const mp_obj_t *arguments) {{",
        "    (void)count;",
    ]
    lines += [
        "    " + readers[item.kind].format(item.name, index)
        for index, item in enumerate(function.arguments)
    ]
    if function.returns == "status":
        lines.append(f"    return mp_obj_new_int({result});")
    elif function.returns == "nothing":
        lines += [f"    {result};", "    return mp_const_none;"]
    else:
        lines += ["    int32_t value = 0;", f"    {result};", "    return mp_obj_new_int(value);"]
    lines += [
        "}",
        f"static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN({name}_obj, {count}, {count}, {name});",
    ]
    return "\n" + "\n".join(lines) + "\n"


def natmod(functions: list[Function]) -> str:
    """Return the C file of the native .mpy module."""
    stores = [
        f"    mp_store_global(MP_QSTR_{item.name}, MP_OBJ_FROM_PTR(&binding_{item.name}_obj));"
        for item in functions
    ]
    body = "".join(micropython_function(item) for item in functions)
    tail = NATMOD_TAIL.substitute(stores="\n".join(stores))
    return GENERATED + NATMOD_HEAD + MICROPYTHON_HELPERS + body + tail


def usermod(functions: list[Function]) -> str:
    """Return the C file of the user C module, for MicroPython and CircuitPython."""
    rows = [
        f"    {{MP_ROM_QSTR(MP_QSTR_{item.name}), MP_ROM_PTR(&binding_{item.name}_obj)}},"
        for item in functions
    ]
    body = "".join(micropython_function(item) for item in functions)
    tail = USERMOD_TAIL.substitute(rows="\n".join(rows))
    return GENERATED + USERMOD_HEAD + MICROPYTHON_HELPERS + body + tail


CPYTHON_HELPERS = """
#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#if __has_include(<Python.h>)
#include <Python.h>
#else
#include "python_stable_abi.h"
#endif

#include "lilliput.h"

typedef struct {
    Py_buffer view;
    lil_buffer buffer;
} held_buffer;

static char typecode_of(const Py_buffer *view) {
    const char *format = view->format;
    if (format == NULL) {
        return 'B';
    }
    if (*format == '<' || *format == '=' || *format == '@' ||
        (*format == '>' && view->itemsize == 1)) {
        format++;
    }
    return format[0] != '\\0' && format[1] == '\\0' ? format[0] : '\\0';
}

static int hold_buffer(PyObject *object, int writable, const char *name, held_buffer *held) {
    if (PyObject_GetBuffer(object, &held->view, writable ? PyBUF_FULL : PyBUF_FULL_RO) != 0) {
        held->view.obj = NULL;
        const char *access = writable ? "writable" : "readable";
        PyErr_Format(PyExc_TypeError, "%s must be a %s buffer", name, access);
        return 0;
    }
    held->buffer.data = held->view.buf;
    held->buffer.size = (uint32_t)held->view.len;
    held->buffer.typecode = typecode_of(&held->view);
    if (!PyBuffer_IsContiguous(&held->view, 'C')) {
        PyErr_Format(PyExc_ValueError,
                     "%s must be C-contiguous: pass it through numpy.ascontiguousarray", name);
        return 0;
    }
    if ((uint64_t)held->view.len > UINT32_MAX) {
        PyErr_Format(PyExc_ValueError, "%s is larger than 4 GiB", name);
        return 0;
    }
    if (held->buffer.typecode == '\\0') {
        PyErr_Format(PyExc_ValueError, "%s has elements of the unknown format '%s'", name,
                     held->view.format);
        return 0;
    }
    return 1;
}

static inline int hold_optional_buffer(PyObject *object, const char *name, held_buffer *held) {
    if (object == Py_None) {
        held->buffer.typecode = 'B';
        return 1;
    }
    return hold_buffer(object, 0, name, held);
}

static inline int read_int(PyObject *object, const char *name, int32_t *number) {
    int overflow = 0;
    long long wide = PyLong_AsLongLongAndOverflow(object, &overflow);
    if (wide == -1 && PyErr_Occurred()) {
        return 0;
    }
    if (overflow != 0 || wide < INT32_MIN || wide > INT32_MAX) {
        PyErr_Format(PyExc_ValueError, "%s is out of range", name);
        return 0;
    }
    *number = (int32_t)wide;
    return 1;
}

static int has_count(const char *function, Py_ssize_t count, Py_ssize_t expected) {
    if (count != expected) {
        PyErr_Format(PyExc_TypeError, "%s() takes %zd argument%s, not %zd", function, expected,
                     expected == 1 ? "" : "s", count);
        return 0;
    }
    return 1;
}

static int succeeded(int32_t status) {
    if (status < 0) {
        PyErr_SetString(PyExc_ValueError, lil_error_text(status));
        return 0;
    }
    return 1;
}
"""

CPYTHON_FUNCTION = Template("""
static PyObject *binding_$name(PyObject *module, PyObject *const *arguments, Py_ssize_t count) {
    (void)module;
    PyObject *result = NULL;
$declarations
    if (has_count("$name", count, $count)$conditions) {
$before        int32_t status = $call;
$after        if (succeeded(status)) {
            result = $result;
        }
    }
$releases
    return result;
}
""")

CPYTHON_TAIL = Template("""
static PyMethodDef methods[] = {
$rows
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "_lilliput",
    .m_doc = "The C core of Lilliput.",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__lilliput(void) {
    return PyModuleDef_Init(&definition);
}
""")


def cpython_function(function: Function) -> str:
    """Return the CPython wrapper of one function."""
    readers = {
        "buffer": "hold_buffer({argument}, 0, {label}, &{name})",
        "writable": "hold_buffer({argument}, 1, {label}, &{name})",
        "optional buffer": "hold_optional_buffer({argument}, {label}, &{name})",
        "int": "read_int({argument}, {label}, &{name})",
    }
    results = {
        "status": "PyLong_FromLong(status)",
        "nothing": "Py_NewRef(Py_None)",
        "value": "PyLong_FromLong(value)",
    }
    declarations = [
        f"    {'int32_t' if item.kind == 'int' else 'held_buffer'} {item.name} = {zero};"
        for item in function.arguments
        for zero in ["0" if item.kind == "int" else "{0}"]
    ]
    if function.returns == "value":
        declarations.append("    int32_t value = 0;")
    conditions = [
        readers[item.kind].format(
            argument=f"arguments[{index}]",
            label=f'"{function.name}(): {item.name}"',
            name=item.name,
        )
        for index, item in enumerate(function.arguments)
    ]
    invocation = call(function, "&{}.buffer")
    before = after = ""
    if function.releases_gil:
        before = "        PyThreadState *thread = PyEval_SaveThread();\n"
        after = "        PyEval_RestoreThread(thread);\n"
    return CPYTHON_FUNCTION.substitute(
        name=function.name,
        declarations="\n".join(declarations),
        count=len(function.arguments),
        conditions="".join(f" &&\n        {condition}" for condition in conditions),
        before=before,
        call=invocation,
        after=after,
        result=results[function.returns],
        releases="\n".join(
            f"    PyBuffer_Release(&{item.name}.view);"
            for item in function.arguments
            if item.kind != "int"
        ),
    )


def c_string(text: str) -> str:
    """Return `text` as C string literals, one a line."""
    lines = text.replace("\\", "\\\\").replace('"', '\\"').splitlines()
    return "\n".join(f'     "{line}\\n"' for line in lines)


def cpython(functions: list[Function]) -> str:
    """Return the C file of the CPython extension."""
    rows = []
    for item in functions:
        signature = ", ".join([*(argument.name for argument in item.arguments), "/"])
        doc = c_string(f"{item.name}({signature})\n--\n\n{item.doc}")
        pointer = f"(PyCFunction)(void (*)(void))binding_{item.name}"
        rows.append(f'    {{"{item.name}", {pointer}, METH_FASTCALL,\n{doc}}},')
    body = "".join(cpython_function(item) for item in functions)
    tail = CPYTHON_TAIL.substitute(rows="\n".join(rows))
    return GENERATED + CPYTHON_HELPERS + body + tail


def stubs(functions: list[Function]) -> str:
    """Return the PEP 484 stubs of the native module."""
    types = {
        "buffer": "ReadableBuffer",
        "optional buffer": "ReadableBuffer | None",
        "writable": "WriteableBuffer",
        "int": "int",
    }
    results = {"status": "int", "nothing": "None", "value": "int"}
    parts = [
        '"""The C core of Lilliput, the same in the natmod, the user C module and CPython."""\n',
        "from _typeshed import ReadableBuffer, WriteableBuffer\n",
    ]
    for item in functions:
        arguments = "".join(
            f"    {argument.name}: {types[argument.kind]},\n" for argument in item.arguments
        )
        doc = textwrap.indent(item.doc, "    ")
        closing = f'"""{doc.strip()}"""' if "\n" not in doc else f'"""{doc.strip()}\n    """'
        parts.append(
            f"def {item.name}(\n{arguments}    /,\n) -> {results[item.returns]}:\n    {closing}\n"
        )
    return "\n".join(parts)


def inference_natmod(functions: list[Function]) -> str:
    """Return the C file of the native .mpy module of a build for inference alone."""
    return natmod([item for item in functions if not item.is_training])


WRITERS: dict[str, Callable[[list[Function]], str]] = {
    "natmod": inference_natmod,
    "training-natmod": natmod,
    "usermod": usermod,
    "cpython": cpython,
    "stubs": stubs,
}


def main() -> None:
    """Write one output of the generator."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=sorted(WRITERS))
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(WRITERS[arguments.kind](load_functions()))


if __name__ == "__main__":
    main()
