# RP2040 and RP2350 boards of MicroPython's rp2 port, with a ROMFS between the firmware and the
# files. The files stay where stock firmware has them. Used as MICROPY_BOARD_DIR; MICROPY_BOARD
# names the port's board, LILLIPUT_ROMFS_BYTES is a multiple of 4096.

set(MICROPY_BOARD_DIR ${MICROPY_PORT_DIR}/boards/${MICROPY_BOARD})
include(${MICROPY_BOARD_DIR}/mpconfigboard.cmake)
# The C++ standard library, with which the C library's log2 would come, is not needed then.
list(APPEND MICROPY_DEF_BOARD
    MICROPY_HW_ROMFS_BYTES=${LILLIPUT_ROMFS_BYTES}
    PICO_CXX_DISABLE_ALLOCATION_OVERRIDES=1
    MP_NEED_LOG2=1
)
