// The style sheet of a report: light, dark and printed, from a phone's width on.
#pragma once

namespace lockstep {

const char* report_style();

}  // namespace lockstep
