package conformance

// GuestGreeting is what Guest writes to its serial port when it boots.
const GuestGreeting = "coloa test guest ready\r\n"

// Bytes that Guest obeys when they are typed; all others it echoes.
const (
	TypePowerOff = 0x01
	TypePanic    = 0x02
)

// Guest returns a boot sector: an operating system of 512 bytes for x86 machines with a BIOS, a serial port at 0x3f8, ACPI where qemu puts it
// (q35 and pc alike) and a pvpanic device. It greets, echoes what is typed, and powers off when it is told to or when the power button is pressed.
// So the suite has a guest that boots in a tenth of a second and needs no download.
func Guest() []byte {
	const origin = 0x7c00 // where a BIOS loads a boot sector
	code := assembler{labels: map[string]int{}}

	code.emit(0xfa)             // cli
	code.emit(0x31, 0xc0)       // xor ax, ax
	code.emit(0x8e, 0xd8)       // mov ds, ax
	code.emit(0x8e, 0xd0)       // mov ss, ax
	code.emit(0xbc, 0x00, 0x7c) // mov sp, 0x7c00
	code.emit(0xba, 0x02, 0x06) // mov dx, 0x602   PM1_EN
	code.emit(0xb8, 0x00, 0x01) // mov ax, 0x100   the power button sets its bit in PM1_STS
	code.emit(0xef)             // out dx, ax
	code.emit(0xbe)             // mov si, greeting
	code.address("greeting", origin)

	code.label("greet")
	code.emit(0xac)         // lodsb
	code.emit(0x84, 0xc0)   // test al, al
	code.jump(0x74, "poll") // jz poll
	code.call("write")
	code.jump(0xeb, "greet") // jmp greet

	code.label("poll")
	code.emit(0xba, 0x00, 0x06) // mov dx, 0x600   PM1_STS
	code.emit(0xed)             // in ax, dx
	code.emit(0xf6, 0xc4, 0x01) // test ah, 1      the power button was pressed
	code.jump(0x75, "off")      // jnz off
	code.emit(0xba, 0xfd, 0x03) // mov dx, 0x3fd   line status
	code.emit(0xec)             // in al, dx
	code.emit(0xa8, 0x01)       // test al, 1      something was typed
	code.jump(0x74, "idle")     // jz idle
	code.emit(0xba, 0xf8, 0x03) // mov dx, 0x3f8
	code.emit(0xec)             // in al, dx
	code.emit(0x3c, TypePowerOff)
	code.jump(0x74, "off") // je off
	code.emit(0x3c, TypePanic)
	code.jump(0x74, "panic") // je panic
	code.call("write")
	code.jump(0xeb, "poll") // jmp poll

	code.label("idle")
	code.emit(0xfb)         // sti
	code.emit(0xf4)         // hlt             until the clock ticks, 18 times a second
	code.jump(0xeb, "poll") // jmp poll

	code.label("off")
	code.emit(0xba, 0x04, 0x06) // mov dx, 0x604   PM1_CNT
	code.emit(0xb8, 0x00, 0x20) // mov ax, 0x2000  sleep now, type 0: off
	code.emit(0xef)             // out dx, ax
	code.jump(0xeb, "idle")     // jmp idle

	code.label("panic")
	code.emit(0xba, 0x05, 0x05) // mov dx, 0x505   pvpanic
	code.emit(0xb0, 0x01)       // mov al, 1
	code.emit(0xee)             // out dx, al
	code.jump(0xeb, "idle")     // jmp idle

	code.label("write") // writes al
	code.emit(0x50)     // push ax
	code.emit(0xba, 0xfd, 0x03)
	code.label("busy")
	code.emit(0xec)         // in al, dx
	code.emit(0xa8, 0x20)   // test al, 0x20   the transmitter is free
	code.jump(0x74, "busy") // jz busy
	code.emit(0x58)         // pop ax
	code.emit(0xba, 0xf8, 0x03)
	code.emit(0xee) // out dx, al
	code.emit(0xc3) // ret

	code.label("greeting")
	code.emit([]byte(GuestGreeting)...)
	code.emit(0)
	return code.sector()
}

// assembler puts bytes together and fills in addresses of labels once all are known.
type assembler struct {
	bytes  []byte
	labels map[string]int
	later  []func()
}

func (code *assembler) emit(bytes ...byte) { code.bytes = append(code.bytes, bytes...) }

func (code *assembler) label(name string) { code.labels[name] = len(code.bytes) }

// jump emits a jump of two bytes: opcode and distance.
func (code *assembler) jump(opcode byte, label string) {
	code.emit(opcode, 0)
	after := len(code.bytes)
	code.later = append(code.later, func() { code.bytes[after-1] = byte(code.labels[label] - after) })
}

func (code *assembler) call(label string) {
	code.emit(0xe8, 0, 0)
	after := len(code.bytes)
	code.later = append(code.later, func() { code.put(after-2, code.labels[label]-after) })
}

// address emits the label's address in memory, as two bytes.
func (code *assembler) address(label string, origin int) {
	code.emit(0, 0)
	after := len(code.bytes)
	code.later = append(code.later, func() { code.put(after-2, origin+code.labels[label]) })
}

func (code *assembler) put(at, value int) {
	code.bytes[at], code.bytes[at+1] = byte(value), byte(value>>8)
}

// sector returns 512 bytes with the mark by which a BIOS knows a boot sector.
func (code *assembler) sector() []byte {
	for _, fill := range code.later {
		fill()
	}
	sector := make([]byte, 512)
	copy(sector[:510], code.bytes)
	sector[510], sector[511] = 0x55, 0xaa
	return sector
}
