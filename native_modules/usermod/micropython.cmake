# The user C module, for CMake-based ports:
# USER_C_MODULES=/path/to/lilliput/native_modules/usermod/micropython.cmake

find_package(Python3 3.11 REQUIRED COMPONENTS Interpreter)

get_filename_component(LILLIPUT_MODULES ${CMAKE_CURRENT_LIST_DIR}/.. ABSOLUTE)
set(LILLIPUT_BINDING ${CMAKE_CURRENT_BINARY_DIR}/_lilliput_usermod.c)
set(LILLIPUT_GENERATOR
    ${LILLIPUT_MODULES}/bindings/generate.py
    ${LILLIPUT_MODULES}/bindings/functions.toml
)
file(GLOB LILLIPUT_CORE CONFIGURE_DEPENDS
    ${LILLIPUT_MODULES}/core/*.c
    ${LILLIPUT_MODULES}/core/kernels/*.c
    ${LILLIPUT_MODULES}/core/kernels/*/*.c
    ${LILLIPUT_MODULES}/core/training/*.c
    ${LILLIPUT_MODULES}/core/training/*/*.c
)

# MicroPython looks for its strings in the sources while CMake configures.
execute_process(
    COMMAND ${Python3_EXECUTABLE} ${LILLIPUT_MODULES}/bindings/generate.py usermod ${LILLIPUT_BINDING}
    COMMAND_ERROR_IS_FATAL ANY
)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${LILLIPUT_GENERATOR})

add_library(usermod_lilliput INTERFACE)
target_sources(usermod_lilliput INTERFACE ${LILLIPUT_BINDING} ${LILLIPUT_CORE})

# Most ports compile for size.
file(READ ${LILLIPUT_MODULES}/hot_kernels.mk LILLIPUT_HOT_KERNELS)
string(REGEX MATCHALL "[a-z0-9_/%]+\\.c" LILLIPUT_HOT_KERNELS "${LILLIPUT_HOT_KERNELS}")
list(TRANSFORM LILLIPUT_HOT_KERNELS REPLACE "%" "*")
list(TRANSFORM LILLIPUT_HOT_KERNELS PREPEND ${LILLIPUT_MODULES}/core/kernels/)
file(GLOB LILLIPUT_HOT_KERNELS ${LILLIPUT_HOT_KERNELS})
set_source_files_properties(${LILLIPUT_HOT_KERNELS} PROPERTIES COMPILE_OPTIONS -O2)

target_include_directories(usermod_lilliput INTERFACE ${LILLIPUT_MODULES}/core)
target_link_libraries(usermod INTERFACE usermod_lilliput)
