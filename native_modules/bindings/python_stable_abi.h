/* The part of CPython's stable ABI that the extension uses, for systems that have Python without
 * its headers (Debian's python3 without python3-dev). Nothing here may change in any CPython 3.x
 * from 3.11 on: docs.python.org/3/c-api/stable.html. Builds without the GIL have another ABI. */
#ifndef PYTHON_STABLE_ABI_H
#define PYTHON_STABLE_ABI_H

#include <stddef.h>
#include <stdint.h>

typedef intptr_t Py_ssize_t;
typedef struct _object PyObject;
typedef struct _typeobject PyTypeObject;
typedef struct _ts PyThreadState;

struct _object {
    Py_ssize_t ob_refcnt;
    PyTypeObject *ob_type;
};

typedef struct {
    void *buf;
    PyObject *obj;
    Py_ssize_t len;
    Py_ssize_t itemsize;
    int readonly;
    int ndim;
    char *format;
    Py_ssize_t *shape;
    Py_ssize_t *strides;
    Py_ssize_t *suboffsets;
    void *internal;
} Py_buffer;

#define PyBUF_FULL_RO 0x011C
#define PyBUF_FULL 0x011D

typedef PyObject *(*PyCFunction)(PyObject *, PyObject *);

typedef struct {
    const char *ml_name;
    PyCFunction ml_meth;
    int ml_flags;
    const char *ml_doc;
} PyMethodDef;

#define METH_FASTCALL 0x0080

typedef struct {
    PyObject ob_base;
    PyObject *(*m_init)(void);
    Py_ssize_t m_index;
    PyObject *m_copy;
} PyModuleDef_Base;

#define PyModuleDef_HEAD_INIT {{1, NULL}, NULL, 0, NULL}

typedef struct {
    int slot;
    void *value;
} PyModuleDef_Slot;

struct PyModuleDef {
    PyModuleDef_Base m_base;
    const char *m_name;
    const char *m_doc;
    Py_ssize_t m_size;
    PyMethodDef *m_methods;
    PyModuleDef_Slot *m_slots;
    int (*m_traverse)(PyObject *, int (*)(PyObject *, void *), void *);
    int (*m_clear)(PyObject *);
    void (*m_free)(void *);
};

#define PyMODINIT_FUNC __attribute__((visibility("default"))) PyObject *

extern PyObject _Py_NoneStruct;
extern PyObject *PyExc_TypeError;
extern PyObject *PyExc_ValueError;
#define Py_None (&_Py_NoneStruct)

int PyObject_GetBuffer(PyObject *object, Py_buffer *view, int flags);
int PyBuffer_IsContiguous(const Py_buffer *view, char order);
void PyBuffer_Release(Py_buffer *view);
PyObject *PyErr_Format(PyObject *exception, const char *format, ...);
void PyErr_SetString(PyObject *exception, const char *text);
PyObject *PyErr_Occurred(void);
long long PyLong_AsLongLongAndOverflow(PyObject *object, int *overflow);
PyObject *PyLong_FromLong(long number);
PyObject *Py_NewRef(PyObject *object);
PyThreadState *PyEval_SaveThread(void);
void PyEval_RestoreThread(PyThreadState *thread);
PyObject *PyModuleDef_Init(struct PyModuleDef *definition);

#endif
