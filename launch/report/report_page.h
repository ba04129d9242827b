// One page for people: a run, or several compared. No network, no scripts.
#pragma once

#include <string>
#include <vector>

#include "lockstep/launch/report/run_record.h"

namespace lockstep {

// HTML text whose content security policy lets nothing be loaded. `runs`: at least one. A function
// of the records alone.
std::string report_page(const std::vector<RunRecord>& runs);

// Begins every page; by it a report is told from another file of the same name.
constexpr const char* kReportHead =
    "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"generator\" "
    "content=\"Lockstep";

}  // namespace lockstep
