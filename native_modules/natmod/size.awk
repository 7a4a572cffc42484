# Prints the size that MicroPython's linker reports for module `name`; fails above `limit`.
/^(text|rodata|bss) size:/ { bytes += $3 }
END {
    printf "%s: %d bytes of text and constants\n", name, bytes
    if (limit != "" && bytes > limit) {
        printf "error: the module may have %d bytes at most\n", limit
        exit 1
    }
}
